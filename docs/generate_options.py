"""Write the page on options from the dataclasses of the command line: ``python -m docs.generate_options FILE``."""

import ast
import dataclasses
import inspect
import sys
import textwrap
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from aign.fitting.clustering.__main__ import Options as ClusteringOptions
from aign.fitting.registration.__main__ import Options as RegistrationOptions
from aign.options import annotations_of, in_words
from aign.tasks import TASKS
from aign.training.config import TrainingConfig
from ray_jobs.cli.compress_options import Size
from ray_jobs.cli.console import VERBS
from ray_jobs.cli.options import Beginning, DryRun, spelling
from ray_jobs.runs.job import Placement
from ray_jobs.sweeps.plan import Options as SweepOptions

INTRODUCTION = """\
# Options

This page is generated from the command line when the documentation is built.

Every option has a default. A preset changes some of them: `aign train TASK --preset NAME --help` prints the defaults of
that preset. In Python the names have underscores: `aign.train("pose", batch_size=64)`. Unknown options, values out of
range, and options without effect are errors.
"""


def page() -> str:
    """The page in Markdown."""
    parts = [
        INTRODUCTION,
        "## All training commands\n\n`train`, `sweep` and `compare` take these options, and those of the task.\n",
        _section("Training", TrainingConfig),
        _section("Placement", Placement),
        _section("Initial weights", Beginning),
        _section("Dry run", DryRun),
        "## Tasks\n",
        *(_section(name, task.Config, presets=task.presets) for name, task in TASKS.items()),
        "## Other options of each command\n",
        _section("aign sweep", SweepOptions, VERBS["sweep"]),
        _section("aign compress", Size, VERBS["compress"]),
        *(_section(f"aign {verb}", kind, VERBS[verb]) for verb, kind in _verbs().items()),
        "## Commands of the library\n",
        _section("python -m aign.fitting.registration", RegistrationOptions),
        _section("python -m aign.fitting.clustering", ClusteringOptions),
    ]
    return "\n".join(parts)


def _verbs() -> dict[str, type]:
    """The options of each command that are its own."""
    modules = {verb: import_module(f"ray_jobs.{verb}") for verb in VERBS}
    return {verb: module.Options for verb, module in modules.items() if hasattr(module, "Options")}


def _section(title: str, kind: type, sentence: str = "", presets: Any = None) -> str:
    annotations, helps = annotations_of(kind), _help_texts(kind)
    lines = [f"### {title}", "", *([sentence, ""] if sentence else [])]
    lines += ["| option | values | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(kind):
        cells = (f"`{spelling(field.name)}`", _values(annotations[field.name]), _default(field), helps[field.name])
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    if presets:
        lines += ["", "Presets:", "", *(f"- `{name}`: {preset.summary}" for name, preset in presets.items())]
    return "\n".join([*lines, ""])


def _values(annotation: Any) -> str:
    stated = [metavar for part in get_args(annotation) if isinstance(metavar := getattr(part, "metavar", None), str)]
    return f"`{stated[0]}`" if stated else in_words(annotation)


def _default(field: dataclasses.Field) -> str:
    if field.default in (dataclasses.MISSING, None):
        return ""
    value = field.default
    shown = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f"`{shown}`" if shown else ""


def _help_texts(kind: type) -> dict[str, str]:
    """The strings below the fields of a dataclass and of those it inherits from, by field."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        (body,) = (node.body for node in ast.parse(textwrap.dedent(inspect.getsource(base))).body)  # type: ignore[attr-defined]
        for node, after in pairwise(body):
            if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr):
                found[node.target.id] = " ".join(ast.literal_eval(after.value).replace("``", "`").split())  # type: ignore[union-attr]
    return found


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
