"""Small languages of options: schedules of alpha and scale, what is hidden, what a sweep searches."""

import json
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import mutations, world
from tests.fuzz.case import Call, Field, Lay, command, fixed, function

ALPHAS = (
    *("fixed:1", "2", "linear:2:0", "cosine:2:-2", "gnc", "piecewise:0=2,0.5=1,1=0", "steps:0=2,0.5=1"),
    *("adaptive:0:2", "adaptive:0:2:1", "fixed:-inf"),
)
SCALES = ("fixed:2", "linear:8:2", "geometric:8:2", "adaptive:0.01", "steps:0=2,0.5=1", "cosine:8:1")
WORDS = ("fixed", "linear", "gnc", "adaptive", "steps", "piecewise", "geometric", "=", "0.5", "inf", "1e308")


def pose(option: str, spelling: Any, **about: Any) -> Call:
    """Options of a pose run, as the library reads them; its networks are not made."""
    from aign.training.run_config import RunConfig

    return function(RunConfig.of, "pose", **{option: spelling}, **about)


def draw_alpha(random: Random, folder: Path) -> Call:
    option, spellings = random.choice((("alpha", ALPHAS), ("scale_px", SCALES)))
    return pose(option, mutations.reworded(random, random.choice(spellings), WORDS))


# --- what is hidden ---------------------------------------------------------------------------------------------------


def hidden(spelling: Any, **about: Any) -> Lay:
    def lay(folder: Path) -> Call:
        from aign.training.run_config import RunConfig

        return function(RunConfig.of, "inpaint", hidden=spelling, **about)

    return lay


def draw_hidden(random: Random, folder: Path) -> Call:
    spelling = random.choice(("mouth", "nose", "eyes", "box:40:16:60:48", "box:0:0:64:64"))
    return hidden(mutations.reworded(random, spelling, ("box", ":", "mouth", "64")))(folder)


# --- what a sweep searches --------------------------------------------------------------------------------------------

ENTRIES = (
    *("alpha=fixed:{-2:2}|gnc", "generator_lr={log:1e-4:1e-2}", "num_blocks={int:1:4}", "seed=0|1|2"),
    *(
        "scale_px=fixed:{0.5:4}",
        "betas=0.5 0.99|0.9 0.999",
        "discriminators=joints|joints factors",
        "rotation=6d|euler",
    ),
)
OPTIONS = ("--trials", "--max-concurrent", "--budget-hours", "--perturb-every", "--sweep-seed")
SEARCHED = (
    "alpha",
    "width",
    "data",
    "from",
    "name",
    "nope",
    "steps",
    "batch_size",
    "storage",
    "workers",
    "dry_run",
    "",
)


def sweep(*words: object, **about: Any) -> Call:
    return command("sweep", *world.POSE, "--name", "searched", *words, "--dry-run", **about)


def draw_space(random: Random, folder: Path) -> Call:
    entry = random.choice(ENTRIES)
    match random.randrange(6):
        case 0:
            spaces = [mutations.reworded(random, entry, ("{", "}", "|", "log:", "int:", "=", "--"))]
        case 1:
            spaces = [f"{random.choice(SEARCHED)}={entry.partition('=')[2]}"]
        case 2:
            low, high = random.choice(mutations.ODD_NUMBERS), random.choice(mutations.ODD_NUMBERS)
            spaces = [f"generator_lr={{{random.choice(('', 'log:', 'int:', 'x:'))}{_spelled(low)}:{_spelled(high)}}}"]
        case 3:
            return _space_file(folder, mutations.damaged(random, _toml(dict(e.split("=", 1) for e in ENTRIES[:2]))))
        case 4:
            tree = mutations.bent(random, {"alpha": ["fixed:{-2:2}", "gnc"], "width": [4, 8], "seed": 1})
            return _space_file(folder, _toml(tree))
        case _:
            value = random.choice((*mutations.ODD_NUMBERS[:9], "x", "", "１", 3, 10**9))
            return sweep("--space", entry, f"{random.choice(OPTIONS)}={_spelled(value)}")
    return sweep("--space", *spaces, *random.choice(((), (), ("--search", "grid"), ("--scheduler", "pbt"))))


def _spelled(value: Any) -> str:
    return "1" + "0" * 400 if value == 10**400 else str(value)


def _toml(tree: Any) -> bytes:
    """As TOML, where it can be: what JSON writes of lists, texts and numbers is TOML too."""
    if not isinstance(tree, dict):
        return mutations.as_json(tree)[:100_000].encode()
    return "\n".join(f"{json.dumps(k)} = {mutations.as_json(v)}" for k, v in tree.items()).encode()


def _space_file(folder: Path, content: bytes, **about: Any) -> Call:
    (folder / "space.toml").write_bytes(content)
    return sweep("--space-file", "space.toml", **about)


# --- what once went wrong ---------------------------------------------------------------------------------------------

_refused: Any = partial(fixed, nonsense=True)
ALPHA: dict[str, Lay] = {
    "whole": fixed(pose, "alpha", "linear:2:0", sound=True),
    "1e308": fixed(pose, "alpha", "fixed:1e308"),
    "1e308 on the command line": fixed(command, "train", *world.POSE, "--alpha", "fixed:1e308", "--dry-run"),
    "nan": _refused(pose, "alpha", "fixed:nan"),
    "a number": fixed(pose, "alpha", 1.5),
    "nothing": _refused(pose, "alpha", ""),
    "None": _refused(pose, "alpha", None),
    "a list": _refused(pose, "alpha", [1, 2]),
    "a scale of 0": _refused(pose, "scale_px", "fixed:0"),
    "a scale of 1e-320": fixed(pose, "scale_px", "fixed:1e-320"),
    "an infinite scale": _refused(pose, "scale_px", "fixed:inf"),
    "a million points": _refused(pose, "alpha", "steps:" + "," * 1_000_000),
    "superscripts": _refused(pose, "alpha", "fixed:²"),
}
HIDDEN: dict[str, Lay] = {
    "whole": hidden("box:40:16:60:48", sound=True),
    "superscripts": hidden("box:²:0:5:5", nonsense=True),
    "upside down": hidden("box:60:16:40:48", nonsense=True),
    "outside": hidden("box:0:0:65:64", nonsense=True),
    "nothing": hidden("", nonsense=True),
    "400 digits": hidden("box:0:0:5:" + "9" * 400, nonsense=True),
    "a tuple": hidden((0, 0, 5, 5), nonsense=True),
    "None": hidden(None, nonsense=True),
}
LR = "generator_lr={log:1e-4:1e-2}"
SPACE: dict[str, Lay] = {
    "whole": fixed(sweep, "--space", *ENTRIES[:2], sound=True),
    "an empty list in a file": lambda folder: _space_file(folder, b"alpha = []", nonsense=True),
    "a table in a file": lambda folder: _space_file(folder, b"[alpha]\nx = 1", nonsense=True),
    "a file nested 50,000 deep": lambda f: _space_file(f, b"alpha = " + mutations.DEEP.encode(), nonsense=True),
    "a file that is not there": _refused(sweep, "--space-file", "nope.toml"),
    "a file of no text": lambda folder: _space_file(folder, b"\xff\xfe\0", nonsense=True),
    "a metric that is none": _refused(sweep, "--space", LR, "--metric", "nope"),
    "a cost that is none": _refused(sweep, "--space", LR, "--cost", "nope"),
    "data that is not there": _refused(sweep, "--space", "data=cmu"),
    "from": _refused(sweep, "--space", "from=x"),
    "name": _refused(sweep, "--space", "name=a|b"),
    "a batch that cannot be shared": _refused(sweep, "--space", "batch_size={int:1:7}"),
    "a width below one": _refused(sweep, "--space", "width={int:-5:5}"),
    "two ranges without a colon": _refused(sweep, "--space", "alpha=fixed:{-2:2}{-2:2}"),
    "a billion trials": fixed(sweep, "--space", LR, "--trials", 10**9),
    "5,000 alternatives": fixed(sweep, "--space", "seed=" + "|".join(map(str, range(5000))), "--trials", 4),
    "5,000 alternatives, grid": fixed(
        sweep, "--space", "seed=" + "|".join(map(str, range(5000))), "--search", "grid", "--trials", 4
    ),
    "a range upside down": _refused(sweep, "--space", "generator_lr={2:1}"),
    "log from 0": _refused(sweep, "--space", "generator_lr={log:0:1}"),
    "nan": _refused(sweep, "--space", "generator_lr={nan:1}"),
    "no space": _refused(sweep),
    "code": _refused(sweep, "--space", "alpha=$(touch x)"),
}

FIELDS = {"alpha": Field(draw_alpha, ALPHA), "hidden": Field(draw_hidden, HIDDEN), "space": Field(draw_space, SPACE)}
