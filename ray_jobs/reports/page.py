"""One HTML page that needs nothing beside itself, and what it is made of: the macros of parts.html.

All text is escaped, also in a part that no macro has made.
"""

import base64
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_parts: Any = _templates.get_template("parts.html").module

heading, text, status, code, table = _parts.heading, _parts.text, _parts.status, _parts.code, _parts.table
facts, cards, folded, framed = _parts.facts, _parts.cards, _parts.folded, _parts.framed


def page(title: str, parts: Sequence[str]) -> str:
    """The page, beginning with its title."""
    return _templates.get_template("page.html").render(title=title, parts=parts)


def legend(names: Sequence[str], lines: Sequence[tuple[str, str]]) -> Markup:
    """Which line in plots stands for what."""
    return _parts.legend(list(zip(names, lines, strict=True)))


def picture(words: str, png: bytes) -> Markup:
    """A picture; ``words`` stand for it where it cannot be seen."""
    return _parts.image(words, "png", base64.b64encode(png).decode())


def plot(words: str, figure: Figure) -> Markup:
    """A drawing with lines that stay sharp."""
    drawn = io.BytesIO()
    with rc_context({"svg.hashsalt": "aign"}):  # the same drawing is the same bytes
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return _parts.plot(_parts.image(words, "svg+xml", base64.b64encode(drawn.getvalue()).decode()))


def plot_picture(words: str, png: bytes) -> Markup:
    """A picture in the frame of a plot."""
    return _parts.plot(picture(words, png))


def pictures(found: Sequence[tuple[str, bytes]]) -> Markup:
    """PNG pictures beside each other, each under it its words."""
    return _parts.pictures([(words, picture(words, png)) for words, png in found])


def moment(seconds: float) -> str:
    """A Unix time as a date and a time of day; nothing for one that no calendar has."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return ""
