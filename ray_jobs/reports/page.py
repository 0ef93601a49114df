"""One HTML page that needs nothing beside itself, and what it is made of. All text is escaped here."""

import base64
import io
import time
from collections.abc import Sequence
from html import escape

from matplotlib import rc_context
from matplotlib.figure import Figure

STYLE = """
:root { color-scheme: light; --ink: #1f2730; --faint: #6b7682; --line: #dfe3e8; --ground: #f5f6f8; --accent: #0072b2 }
body { font: 15px/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: var(--ink); background: var(--ground);
  margin: 0 }
main { max-width: 72rem; margin: 0 auto; padding: 2.2rem 1.5rem 4rem }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .7rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line) }
h2::first-letter { text-transform: capitalize }
p { margin: .5rem 0; max-width: 60rem; overflow-wrap: anywhere }
.faint { color: var(--faint) }
.scroll { overflow-x: auto; background: #fff; border: 1px solid var(--line); border-radius: 8px; margin: .8rem 0;
  width: fit-content; max-width: 100% }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums }
th, td { padding: .38rem .85rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th { color: var(--faint); font-weight: 600; background: #fbfbfc; vertical-align: bottom }
tbody tr:last-child td { border-bottom: 0 }
.word { text-align: left }
.facts td:last-child { white-space: normal; overflow-wrap: anywhere }
.facts td:first-child { color: var(--faint) }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.9rem, 1fr)); gap: .8rem; margin: 1.2rem 0 }
.card { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: .6rem 1rem }
.card b { display: block; font-size: 1.35rem; line-height: 1.3; font-variant-numeric: tabular-nums }
.card span { color: var(--faint); font-size: 13px }
.plot { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: .6rem; margin: .8rem 0 }
img[src^="data:image/svg"] { width: 100% }
img { max-width: 100%; display: block; margin: 0 auto }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); gap: 1rem }
figure { margin: 0; background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: .6rem }
figcaption { font-size: 13.5px; padding: .4rem .2rem 0; overflow-wrap: anywhere }
.key { display: inline-block; width: 1.7em; vertical-align: middle; margin-right: .6em; border-top: 3px solid }
.legend span { margin-right: 1.6em; white-space: nowrap }
.status { display: inline-block; border-radius: 1em; padding: .05rem .75rem; font-size: 13.5px; font-weight: 600;
  background: #e6f0f6; color: var(--accent) }
pre { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: .8rem; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: 13px }
summary { cursor: pointer; color: var(--accent) }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """The page, beginning with its title; each part is HTML."""
    head = f"<!doctype html>\n<html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{STYLE}</style>\n"
    return head + "\n".join([f"<main>\n<h1>{escape(title)}</h1>", *parts]) + "\n</main></html>\n"


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def text(words: str, kind: str = "") -> str:
    """A paragraph; ``kind`` may be faint."""
    return f'<p class="{kind}">{escape(words)}</p>'


def status(word: str, more: str) -> str:
    """In one word how something stands, and in a few more."""
    return f"<p><span class=status>{escape(word)}</span> {escape(more)}</p>"


def code(words: str) -> str:
    return f"<pre>{escape(words)}</pre>"


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1, lines: Sequence[tuple[str, str]] = ()
) -> str:
    """A table of numbers, of which the first columns, as many as ``words``, are words.

    ``lines`` are the color and kind of the line that stands for a row in plots, for the first rows or none.
    """
    keys = [_key(line) for line in lines] + [""] * (len(rows) - len(lines))
    body = "".join(f"<tr>{_cells('td', row, words, key)}</tr>" for row, key in zip(rows, keys, strict=True))
    heads = f"<thead><tr>{_cells('th', head, words)}</tr></thead>"
    return f"<div class=scroll><table>{heads}<tbody>{body}</tbody></table></div>"


def legend(names: Sequence[str], lines: Sequence[tuple[str, str]]) -> str:
    """Which line in plots stands for what."""
    found = [f"<span>{_key(line)}{escape(name)}</span>" for name, line in zip(names, lines, strict=True)]
    return f"<p class=legend>{' '.join(found)}</p>"


def _key(line: tuple[str, str]) -> str:
    color, kind = line
    return f'<i class=key style="border-top-color: {color}; border-top-style: {kind}"></i>'


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """Names and what they stand for."""
    body = "".join(f"<tr>{_cells('td', row, words=2)}</tr>" for row in rows)
    return f"<div class=scroll><table class=facts><tbody>{body}</tbody></table></div>"


def _cells(tag: str, row: Sequence[str], words: int, first: str = "") -> str:
    kinds = [" class=word" if i < words else "" for i in range(len(row))]
    contents = [f"{first if not i else ''}{escape(cell)}" for i, cell in enumerate(row)]
    return "".join(f"<{tag}{kind}>{content}</{tag}>" for kind, content in zip(kinds, contents, strict=True))


def cards(rows: Sequence[tuple[str, str]]) -> str:
    """The few numbers to see first: what each is, and its value."""
    found = "".join(f"<div class=card><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in rows)
    return f"<div class=cards>{found}</div>"


def picture(words: str, png: bytes) -> str:
    """A picture; ``words`` stand for it where it cannot be seen."""
    return _image(words, png, "png")


def plot(words: str, figure: Figure) -> str:
    """A drawing with lines that stay sharp."""
    drawn = io.BytesIO()
    with rc_context({"svg.hashsalt": "aign"}):  # the same drawing is the same bytes
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return f"<div class=plot>{_image(words, drawn.getvalue(), 'svg+xml')}</div>"


def pictures(found: Sequence[tuple[str, bytes]]) -> str:
    """PNG pictures beside each other, each under it its words."""
    parts = [f"<figure>{picture(words, png)}<figcaption>{escape(words)}</figcaption></figure>" for words, png in found]
    return f"<div class=pictures>{''.join(parts)}</div>"


def folded(title: str, part: str) -> str:
    """A part that is shown when its title is clicked."""
    return f"<details><summary>{escape(title)}</summary>{part}</details>"


def moment(seconds: float) -> str:
    """A Unix time as a date and a time of day; nothing for one that no calendar has."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return ""


def _image(words: str, data: bytes, kind: str) -> str:
    return f'<img alt="{escape(words)}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'
