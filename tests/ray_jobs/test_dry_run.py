"""What a dry run accepts, trains: options drawn within their bounds, and two steps of each run."""

import random
from typing import Annotated, Literal, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le, Lt

from aign.options import annotations_of
from aign.tasks import TASKS
from aign.training.config import TrainingConfig
from ray_jobs import train
from ray_jobs.cli.console import run_command
from ray_jobs.cli.options import spelling

NUM_DRAWS, NUM_CHANGES = 3, 3
SMALL_NUMBERS = (0, 0.1, 0.5, 1, 2, 3, 8, 11, 16, 48)
IMAGES = {"num_images": 60, "size": 48, "width": 8, "discriminator_width": 4}
SMALL = {
    "pose": {"width": 32},
    "superres": IMAGES,
    "inpaint": IMAGES,
    "vae": {"size": 16, "num_images": 40, "width": 4, "latent_size": 6},
    "digits": {"num_images": 60, "num_validation": 100, "num_test": 100, "width": 4, "num_blocks": 1},
}
OF_TRAINING = {"batch_size": 8, "steps": 2, "log_every": 1, "evaluate_every": 2, "checkpoint_every": 2}
SPELLINGS = {
    "alpha": ("0", "-inf", "gnc", "linear:2:-2", "adaptive:0:2", "piecewise:0=2,1=0"),
    "scale": ("2", "geometric:8:1", "adaptive:2"),
    "scale_px": ("2", "geometric:8:1", "adaptive:2"),
}
NOT_DRAWN = {*OF_TRAINING, "data", "source", "features", "num_images", "num_validation", "num_test"}
"""Where data comes from is tested with the data, and how much there is decides how long a test takes."""


def without_bounds(annotation):
    bounds = []
    while get_origin(annotation) is Annotated:
        annotation, *stated = get_args(annotation)
        bounds += stated
    return annotation, bounds


def is_within(value, bounds):
    limits = [(Ge, "ge", float.__ge__), (Gt, "gt", float.__gt__), (Le, "le", float.__le__), (Lt, "lt", float.__lt__)]
    return all(
        holds(float(value), float(getattr(bound, name)))
        for bound in bounds
        for kind, name, holds in limits
        if isinstance(bound, kind)
    )


def small_values(name, annotation):
    """Values of an option that the smallest machine can train with."""
    if name in SPELLINGS:
        return SPELLINGS[name]
    kind, bounds = without_bounds(annotation)
    if kind is bool:
        return (True, False)
    if get_origin(kind) is Literal:
        return get_args(kind)
    if kind in (int, float):
        return [value for value in SMALL_NUMBERS if is_within(value, bounds) and (kind is float or value == int(value))]
    return ()


def as_arguments(options):
    def argument(name, value):
        if isinstance(value, bool):
            return spelling(name) if value else spelling(name).replace("--", "--no-", 1)
        return f"{spelling(name)}={value}"

    return [argument(name, value) for name, value in options.items()]


def draw(task, seed):
    """A command line with a preset and some options that may not go together."""
    dice = random.Random(f"{task} {seed}")
    annotations = annotations_of(TrainingConfig) | annotations_of(TASKS[task].Config)
    values = {name: small_values(name, kind) for name, kind in annotations.items() if name not in NOT_DRAWN}
    changed = dice.sample([name for name in values if values[name]], NUM_CHANGES)
    preset = dice.choice([name for name in TASKS[task].presets if not name.startswith("digits")])
    options = OF_TRAINING | SMALL[task] | {name: dice.choice(values[name]) for name in changed}
    return [task, "--preset", preset, "--workers", "0", "--device", "cpu", *as_arguments(options)]


@pytest.fixture
def status_of(capsys):
    def status_of(argv):
        capsys.readouterr()
        try:
            run_command(train.command, argv)
        except SystemExit as ended:
            return ended.code, capsys.readouterr().err.splitlines()[-1]
        return 0, ""

    return status_of


@pytest.mark.parametrize("seed", range(NUM_DRAWS))
@pytest.mark.parametrize("task", TASKS)
def test_what_a_dry_run_accepts_can_be_trained(task, seed, status_of, tmp_path):
    argv = [*draw(task, seed), "--storage", str(tmp_path), "--name", "run"]
    before = status_of([*argv, "--dry-run"])
    assert not list(tmp_path.iterdir())
    after = status_of(argv)
    if before[0]:
        assert after == before
    else:
        assert after[0] == 0 or "loss term" in after[1], argv  # that a loss is finite, only training can tell
