"""Every option of every command states what it takes, and refuses the rest wherever it is given."""

import dataclasses
import inspect
import json
import math
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import jaxtyping
import pytest
from annotated_types import Ge, Gt, Le, Lt

import aign
from aign.errors import UserError
from aign.options import CheckedOptions, annotations_of
from aign.tasks import TASKS
from aign.training.config import TrainingConfig
from aign.training.run_config import RunConfig
from ray_jobs.cli.console import VERBS
from ray_jobs.cli.options import parse, spelling
from ray_jobs.runs.job import Placement

COMMANDS = [import_module(f"ray_jobs.{verb}") for verb in VERBS]
COMMANDS += [import_module(f"aign.fitting.{name}.__main__") for name in ("registration", "clustering")]
COMMANDS += [import_module(f"ray_jobs.{name}") for name in ("cli.compress_options", "sweeps.plan")]
HELD = {"source": "run@1", "ranks": {}, "run": "run", "folder": "run", "name": "a", "input": Path("in")}
"""Something for fields without a default."""
NAMES = ("Options", "Size", "Where", "There", "One", "Logs", "Resume")
"""Of dataclasses that commands read their arguments into."""
OF_RUNS = [("pose", TrainingConfig), *((name, task.Config) for name, task in TASKS.items())]


@pytest.fixture(autouse=True)
def as_installed(monkeypatch):
    """Without the checks of types that only tests have."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def subclasses(kind):
    return {kind}.union(*map(subclasses, kind.__subclasses__()))


KINDS = sorted(
    (kind for kind in subclasses(CheckedOptions) if dataclasses.is_dataclass(kind) and "tests" not in kind.__module__),
    key=lambda kind: (kind.__module__, kind.__qualname__),
)


def leaves(annotation, bounds=()):
    """The types inside an annotation, each with its bounds."""
    if get_origin(annotation) is Annotated:
        kind, *stated = get_args(annotation)
        yield from leaves(kind, (*bounds, *stated))
    elif get_origin(annotation) is Literal or not get_args(annotation):
        yield annotation, bounds
    else:
        for inner in get_args(annotation):
            yield from leaves(inner, bounds)


def wrong_values(annotation):
    """Values that no option of this type takes."""
    for kind, bounds in leaves(annotation):
        if kind in (int, float):
            yield from (math.nan, math.inf, -math.inf, "1", True, 1e30, 10**30, -(10**30))
            yield from (bound.ge - 1 for bound in bounds if isinstance(bound, Ge))
            yield from (bound.gt for bound in bounds if isinstance(bound, Gt))
            yield from (bound.le + 1 for bound in bounds if isinstance(bound, Le))
            yield from (bound.lt for bound in bounds if isinstance(bound, Lt))
        elif get_origin(kind) is Literal:
            yield from ("nope", 99, *(str(choice).upper() + "x" for choice in get_args(kind)))
        elif kind is bool:
            yield from (1, "True")


def cases(kinds):
    return [
        pytest.param(kind, name, annotation, id=f"{kind.__module__}.{kind.__name__}-{name}")
        for kind in kinds
        for name, annotation in annotations_of(kind).items()
        if any(wrong_values(annotation)) and get_origin(annotation) is not Mapping
    ]


def test_all_options_of_commands_are_checked():
    of_commands = {
        kind
        for module in COMMANDS
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if dataclasses.is_dataclass(kind) and kind.__name__ in NAMES
    }
    assert of_commands | {Placement, TrainingConfig, *(task.Config for task in TASKS.values())} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_has_bounds_on_both_sides(kind):
    for name, annotation in annotations_of(kind).items():
        for leaf, bounds in leaves(annotation):
            if leaf in (int, float):
                assert any(isinstance(bound, Ge | Gt) for bound in bounds), name
                assert any(isinstance(bound, Le | Lt) for bound in bounds), name


def held(kind):
    """Values of the fields without a default."""
    missing = dataclasses.MISSING
    fields = [f.name for f in dataclasses.fields(kind) if f.default is missing and f.default_factory is missing]
    return {name: HELD[name] if name != "schedule" else annotations_of(kind)[name]() for name in fields}


@pytest.mark.parametrize(("kind", "name", "annotation"), cases(KINDS))
def test_a_wrong_value_is_refused_by_name(kind, name, annotation):
    several = is_tuple(annotation)
    for value in wrong_values(annotation):
        with pytest.raises(UserError) as refused:
            kind(**held(kind) | {name: (value,) if several else value})
        assert refused.value.value.startswith(f"{name} = "), value
        assert "\n" not in str(refused.value)


def is_tuple(annotation):
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return get_origin(annotation) is tuple


@pytest.mark.parametrize(
    ("task", "name", "value"),
    [
        pytest.param(task, name, value, id=f"{task}-{name}-{value}")
        for task, kind in OF_RUNS
        for name, annotation in annotations_of(kind).items()
        if not is_tuple(annotation) and annotation is not bool  # a flag takes no value
        for value in list(wrong_values(annotation))[-1:]
    ],
)
def test_command_line_notebook_and_stored_config_refuse_alike(task, name, value):
    with pytest.raises(UserError) as of_notebook:
        aign.train(task, **{name: value})
    assert of_notebook.value.value.startswith(f"{name} = ")

    stored = RunConfig.of(task).to_json()
    part = "options" if name in stored["options"] else "training"
    stored[part][name] = value
    with pytest.raises(UserError) as of_config:
        RunConfig.from_json(json.loads(json.dumps(stored)))
    assert of_config.value.value == f"config.json: {of_notebook.value.value}"

    with pytest.raises(UserError) as of_command:
        parse([task, "--workers", "0", f"{spelling(name)}={value}"])
    assert f"{name} = " in str(of_command.value) or spelling(name) in str(of_command.value)


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/abs",
        ".",
        "..",
        "",
        "a/../b",
        "a//b",
        "a/",
        " a",
        "a\n",
        "a\x1b[2J",
        "n" * 300,
        "ж" * 90,
        "run@12",
        "s3://b",
        "a*",
    ],
)
def test_a_name_that_leaves_its_storage_or_misleads_is_refused(name):
    with pytest.raises(UserError) as refused:
        parse(["pose", "--workers", "0", f"--name={name}"])
    assert refused.value.value.startswith("name = ")
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("name", ["a", "me@home", "a/b", "Größe 3", "-a", "v1.2_x"])
def test_a_harmless_name_is_taken(name):
    assert parse(["pose", "--workers", "0", f"--name={name}"]).job.name == name
