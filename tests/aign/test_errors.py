"""Errors that a person can mend."""

import dataclasses
import pickle

import pytest

from aign.errors import OTHER_WORDS, UserError, did_you_mean


def test_says_value_reason_and_remedy_also_in_another_process():
    error = UserError("steps = 0", "less than one", "give a positive number")
    assert str(pickle.loads(pickle.dumps(error))) == "steps = 0: less than one; give a positive number"


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("--lr", ["--generator-lr", "--r1", "--discriminator-lr"], "use --generator-lr and --discriminator-lr"),
        ("lr", ["generator_lr", "r1"], "use generator_lr"),
        ("--epochs", ["--steps", "--ema"], "use --steps"),
        ("--output_dir", ["--out", "--run"], "use --out"),
        ("--lr", ["--ratio"], "choose one of --ratio"),  # of a verb that learns nothing
        ("--widht", ["--width", "--steps"], "did you mean --width?"),
        ("CMU", ["cmu", "h36m"], "did you mean cmu?"),
    ],
)
def test_words_of_other_programs_and_misspelt_ones(word, known, expected):
    assert did_you_mean(word, known) == expected


def test_words_of_other_programs_name_options_that_there_are():
    from aign.tasks import TASKS
    from aign.training.config import TrainingConfig
    from ray_jobs.predict import Options
    from ray_jobs.runs.job import Placement
    from ray_jobs.sweeps.plan import Options as Search

    kinds = (TrainingConfig, Placement, Options, Search, *(task.Config for task in TASKS.values()))
    fields = {field.name.replace("_", "-") for kind in kinds for field in dataclasses.fields(kind)} | {"from"}
    assert {name for names in OTHER_WORDS.values() for name in names} <= fields
    assert not fields & OTHER_WORDS.keys()
