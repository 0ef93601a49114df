"""Values of options: on the command line, where a dry run reads them, and in Python, where a run of two steps does."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args, get_origin, get_type_hints

from tests.fuzz import mutations, world
from tests.fuzz.case import Call, Field, Lay, command, command_after_dry_run, fixed, function

QUICK: Mapping[str, dict[str, Any]] = {
    "pose": {"steps": 2, "batch_size": 8, "width": 8, "num_blocks": 1, "num_components": 4},
    "superres": {"steps": 2, "batch_size": 4, "size": 44, "num_images": 40, "width": 4, "num_blocks": 1},
    "inpaint": {"steps": 2, "batch_size": 4, "size": 44, "num_images": 40, "width": 4, "num_blocks": 1},
    "vae": {"steps": 2, "batch_size": 4, "size": 16, "num_images": 40, "width": 4, "latent_size": 4},
    "digits": {
        "steps": 2,
        "batch_size": 8,
        "num_images": 40,
        "num_validation": 20,
        "num_test": 20,
        "width": 4,
        "num_blocks": 1,
    },
}
"""Options that make a run of each task one of some tenths of a second."""
NUMBERS: tuple[Any, ...] = (*(-1, 0, 1, 2, 7, 2.5, 1e-30, 1e30, 10**12, 10**25), math.nan, math.inf, -math.inf)
NOT_NUMBERS: tuple[Any, ...] = ("x", "", "１", "²", None, [], {}, (1,), "1 2", b"1")
SIGNED = ("theta_d", "theta_g", "seed")
"""Numbers below zero are refused for a reason of another kind, or do no harm."""
NEVER_FINISHES = ("steps", "num_images", "num_validation", "num_test")
"""Options for which a large number is a wish that a small machine cannot fulfil in time."""


def fields(task: str) -> list[tuple[type, dataclasses.Field, Any]]:
    """All options of a task's runs with their types."""
    from aign.training.config import TrainingConfig
    from aign.training.run_config import find_task
    from ray_jobs.runs.job import Placement

    kinds = (find_task(task).Config, TrainingConfig, Placement)
    hints = {kind: get_type_hints(kind) for kind in kinds}
    return [(kind, field, hints[kind][field.name]) for kind in kinds for field in dataclasses.fields(kind)]


def draw_words(random: Random, folder: Path) -> Call:
    """One or two options with strange values on the command line."""
    task = random.choice((*("pose", "pose"), *QUICK))
    words, nonsense = [], False
    for kind, field, hint in random.sample(fields(task), random.choice((1, 1, 2))):
        value = _value(random, hint)
        nonsense = nonsense or _is_nonsense(field.name, hint, value, typed=True)
        if kind.__name__ == "Placement" and field.name == "workers":
            value = random.choice(("0", "-1", "1:", "4:1", "x", "²", "1.5", "9" * 30))
        words.append(f"--{field.name.replace('_', '-')}={_typed(value)}")
    own = [f"--{k.replace('_', '-')}={v}" for k, v in QUICK[task].items()]
    given = {word.partition("=")[0] for word in words}
    rest = [word for word in ("--workers=0", "--name=new", *own) if word.partition("=")[0] not in given]
    return command("train", task, *rest, *words, "--dry-run", nonsense=nonsense)


def draw_training(random: Random, folder: Path) -> Call:
    """One strange value in Python, and two steps of training with it."""
    task = random.choice(("pose", "pose", "pose", "digits", "superres", "inpaint", "vae"))
    known = [(f, hint) for kind, f, hint in fields(task) if kind.__name__ != "Placement"]
    field, hint = random.choice(known)
    value = _value(random, hint)
    if field.name in NEVER_FINISHES and isinstance(value, int | float) and value > 1000:
        value = -1
    return train(task, nonsense=_is_nonsense(field.name, hint, value, typed=False), **{field.name: value})


def train(task: str, *, nonsense: bool = False, sound: bool = False, preset: str | None = None, **options: Any) -> Call:
    """``aign.train`` of two steps."""
    from aign.notebook import train as called

    about = {"nonsense": nonsense, "sound": sound}
    words = ", ".join(f"{name}={_short(value)}" for name, value in options.items())
    given = {**QUICK.get(task, {}), **options} if preset is None else {"preset": preset, **QUICK[task], **options}
    return function(called, task, quiet=True, shown=f"aign.train({task!r}, {words})", **about, **given)


def _value(random: Random, hint: Any) -> Any:
    choices = _choices(hint)
    if choices and random.random() < 0.7:
        right = str(random.choice(choices))
        return random.choice(
            (right.upper(), right[:-1], right + "x", "", right + " ", "none", mutations.reworded(random, right))
        )
    if random.random() < 0.2:
        return random.choice(NOT_NUMBERS)
    return random.choice(NUMBERS)


def _choices(hint: Any) -> tuple:
    return get_args(hint) if get_origin(hint) is Literal else ()


def _plain(hint: Any) -> Any:
    """The type without what is noted on it."""
    return get_args(hint)[0] if hasattr(hint, "__metadata__") else hint


def _is_nonsense(name: str, hint: Any, value: Any, *, typed: bool) -> bool:
    """Whether no run can be meant by the value, as far as its type tells."""
    choices, hint = _choices(hint), _plain(hint)
    if choices:
        return (_typed(value) if typed else value) not in ([str(c) for c in choices] if typed else choices)
    if hint not in (int, float):
        return False
    if isinstance(value, bool) or not isinstance(value, int | float):
        return not (typed and _typed(value) in ("１", "1"))
    if math.isnan(value) or math.isinf(value):
        return True
    if hint is int and value != int(value):
        return True
    return value < 0 and name not in SIGNED


def _typed(value: Any) -> str:
    """As words on a command line."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _short(value: Any) -> str:
    return repr(value) if len(repr(value)) < 100 else f"{repr(value)[:100]}..."


# --- what once went wrong ---------------------------------------------------------------------------------------------

_refused: Callable[..., Lay] = partial(fixed, train, nonsense=True)
POSE_NONSENSE: tuple[tuple[str, Any], ...] = (
    *(("image_size", 0), ("image_size", -1), ("width", 0), ("num_blocks", -1), ("num_components", 0)),
    *(("supervised_share", -1.0), ("supervised_share", 5.0), ("supervised_share", math.nan)),
    *(("supervised_share", math.inf), ("pairs_weight", -1.0), ("adversarial_weight", -1.0)),
    *(("keypoint_noise_px", -1.0), ("keypoint_noise_px", math.nan), ("perturbation", -1.0)),
    *(("reprojection_weight", math.inf), ("discriminators", ("joints", "joints")), ("discriminators", "joints")),
    *(("width", "16"), ("width", 1.5), ("data", "CMU"), ("data", "nope"), ("rotation", "quaternion")),
    *(("generator", "transformer"), ("lr_schedule", "Cosine"), ("update_rule", "alway")),
    *(("adversarial_loss", "wgan"), ("precision", "FP32"), ("betas", (1, 1)), ("betas", (math.nan, 0.9))),
    *(("betas", (-1.0, 2.0)), ("betas", 0.5), ("betas", (0.5,)), ("seed", -1), ("seed", 2.5), ("seed", 10**30)),
    *(("theta_d", math.nan), ("clip", math.inf), ("generator_lr", math.inf), ("generator_lr", None)),
    *(("steps", 0), ("steps", "x"), ("steps", True), ("batch_size", 1), ("ema", 1.0), ("alpha", None)),
)
HUGE = (("width", 10**30), ("num_components", 100_000), ("num_blocks", 100_000_000), ("batch_size", 10**30))


def _typed_value(name: str, value: Any) -> Lay:
    option = f"--{name.replace('_', '-')}"
    words = [_typed(v) for v in value] if isinstance(value, tuple) else [_typed(value)]
    own = [w for w in ("--workers=0", *(f"--{k.replace('_', '-')}={v}" for k, v in QUICK["pose"].items()))]
    rest = [word for word in own if word.partition("=")[0] != option]
    return fixed(command, "train", "pose", *rest, option, *words, "--name", "new", "--dry-run", nonsense=True)


def _typable(value: Any) -> bool:
    return value is not None and not (isinstance(value, str) and value in ("16", "joints")) and value is not True


WORDS: dict[str, Lay] = {
    **{f"{name} {value!r}": _typed_value(name, value) for name, value in POSE_NONSENSE if _typable(value)},
    "whole": fixed(command, "train", *world.POSE, "--dry-run", sound=True),
    "no discriminators": fixed(command, "train", "pose", "--discriminators", "--dry-run"),
    "seed 1e30": fixed(command, "train", *world.POSE, "--seed", "1e30", "--dry-run", nonsense=True),
    "blocks below zero": fixed(command, "train", "superres", "--num-blocks", "-1", "--dry-run", nonsense=True),
    "a sought attribute that is none": fixed(
        command, "train", "superres", "--judge-attribute", "Nope == 1", "--dry-run", nonsense=True
    ),
    "no time for workers": fixed(command, "train", "pose", "--collective-timeout-s", "nan", "--dry-run", nonsense=True),
}
TRAINING: dict[str, Lay] = {
    **{f"{name}={value!r}": _refused("pose", **{name: value}) for name, value in POSE_NONSENSE},
    **{f"{name}={value:g}": fixed(train, "pose", **{name: value}) for name, value in HUGE},
    **{f"{task}": fixed(train, task, sound=True) for task in QUICK},
    "no discriminators": fixed(train, "pose", discriminators=()),
    "images by the quadrillion": fixed(train, "superres", num_images=10**15),
    "size 1e30": _refused("superres", size=10**30),
    "latents by the quadrillion": fixed(train, "vae", latent_size=10**15),
    "a rate at which nothing converges": fixed(train, "pose", generator_lr=1e30),
    "a task that is none": _refused("poze"),
    "a task that is no text": _refused(5),
    "a preset that is none": _refused("pose", preset="nope"),
    "a preset that is no text": _refused("pose", preset=5),
    "an option that is none": _refused("pose", nope=1),
    "alpha 1e308": fixed(train, "pose", alpha="fixed:1e308"),
    "betas 1 1 after a dry run": fixed(
        command_after_dry_run, "train", *world.POSE, "--name", "new", "--betas", "1", "1", results=("runs",)
    ),
    "seed -1 after a dry run": fixed(
        command_after_dry_run, "train", *world.POSE, "--name", "new", "--seed", "-1", results=("runs",)
    ),
}

FIELDS = {"options": Field(draw_words, WORDS), "training": Field(draw_training, TRAINING)}
