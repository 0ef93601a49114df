"""The command line: every option is explained and does something; a mistake is one clear line."""

import ast
import dataclasses
import inspect
import itertools
import json
from collections import Counter

import pytest

from aign.errors import UserError
from aign.tasks import TASKS
from aign.training.config import TrainingConfig
from aign.training.run_config import RunConfig
from ray_jobs import train
from ray_jobs.cli.options import Beginning, DryRun, parse, spelling
from ray_jobs.runs.job import Placement, Workers

OPTION_CLASSES = [Placement, Beginning, TrainingConfig, DryRun, *(task.Config for task in TASKS.values())]


def explained_fields(kind):
    """Names of a dataclass's fields, its own and inherited ones, that a docstring follows."""
    bodies = [ast.parse(inspect.getsource(base)).body[0].body for base in kind.__mro__[:-1]]
    return {
        field.target.id
        for body in bodies
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }


@pytest.mark.parametrize("kind", OPTION_CLASSES)
def test_every_option_is_explained(kind):
    assert {field.name for field in dataclasses.fields(kind)} == explained_fields(kind)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_no_two_options_share_a_name(task):
    kinds = (Placement, Beginning, TrainingConfig, DryRun, task.Config)
    count = Counter(field.name for kind in kinds for field in dataclasses.fields(kind))
    assert not [name for name, times in count.items() if times > 1]
    assert "preset" not in count  # the one option that comes before all others


def test_help_names_every_option_of_the_job(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["pose", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for kind in (Placement, Beginning, TrainingConfig, DryRun, TASKS["pose"].Config):
        for field in dataclasses.fields(kind):
            assert spelling(field.name) in said


def test_a_preset_changes_defaults():
    chosen = TASKS["pose"].presets["aign-paper"]
    run = parse(["pose", "--preset", "aign-paper"]).job.run
    changed = {name: getattr(run.options, name) for name in chosen.task}
    assert changed == dict(chosen.task) != {name: getattr(TASKS["pose"].Config(), name) for name in chosen.task}
    assert run.training.update_rule == "paper" != TrainingConfig().update_rule


def test_the_first_preset_is_the_default():
    default = parse(["pose"]).job.run
    assert default.preset == next(iter(TASKS["pose"].presets))
    assert default == parse(["pose", "--preset", default.preset]).job.run


def test_an_option_goes_before_its_preset():
    assert parse(["pose", "--preset", "aign", "--r1", "0.25"]).job.run.training.r1 == 0.25


def test_the_command_line_and_the_notebook_make_the_same_run():
    argv = ["pose", "--preset", "aign-paper", "--steps", "7", "--width", "8", "--discriminators", "joints", "factors"]
    options = {"steps": 7, "width": 8, "discriminators": ("joints", "factors")}
    assert parse(argv).job.run == RunConfig.of("pose", "aign-paper", **options)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["pose", "--batch-sizes", "4"], "did you mean --batch-size?"),
        (["pose", "--num-workers", "4"], "--num-workers: unknown option"),
        (["poze"], "did you mean pose?"),
        (["pose", "--preset", "agin"], "did you mean aign?"),
        (["pose", "--preset"], "--preset"),
        (["pose", "--ratio", "3"], "add --update-rule ratio"),
        (["pose", "--steps", "0"], "steps = 0"),
        (["pose", "--steps", "many"], "many"),
        (["pose", "--zero-stage", "4"], "4"),
        (["pose", "--workers", "-1"], "workers = -1"),
        (["pose", "--workers", "x"], "workers = x: neither a number nor a range"),
        (["pose", "--workers", "4:1"], "workers = 4:1: not a range"),
        (["pose", "--workers", "0:2"], "workers = 0:2: not a range"),
        (["pose", "--form", "runs/first"], "did you mean --from?"),
        (["pose", "--collective-timeout-s", "0"], "collective_timeout_s = 0"),
        (["pose", "--workers", "0", "--collective-timeout-s", "60"], "no effect"),
        (["pose", "--device", "gpu"], "gpu"),
        (["pose", "--device", "cpu", "--offload-optimizer"], "offload_optimizer"),
        (["pose", "--workers", "0", "--memory-per-worker", "4"], "no effect"),
        (["pose", "--workers", "0", "--machines", "spot"], "no effect"),
        (["pose", "--memory-per-worker", "-1"], "memory_per_worker = -1"),
        (["pose", "--machines", "cheap"], "cheap"),
        (["pose", "--workers", "0", "--zero-stage", "2"], "no effect"),
        (["--steps", "3"], "a task comes first"),
        ([], "a task comes first"),
    ],
)
def test_a_mistake_is_one_line(argv, expected, refused):
    assert expected in refused(parse, *argv)


@pytest.mark.parametrize(("words", "for_ray"), [("0", 0), ("3", 3), ("1:4", (1, 4)), ("2:2", 2)])
def test_workers_are_a_number_or_a_range(words, for_ray):
    job = parse(["pose", "--workers", words]).job
    assert job.placement.workers.for_ray() == for_ray
    assert Workers.parse(json.loads(json.dumps(job.to_json()))["placement"]["workers"]) == job.placement.workers


@pytest.mark.parametrize(
    ("argv", "needs"),
    [
        ([], {"CPU": 1}),
        (["--memory-per-worker", "1.5"], {"CPU": 1, "memory": 3 * 2**29}),
        (["--device", "cpu"], {"CPU": 1}),
        (["--device", "cuda", "--machines", "on-demand"], {"CPU": 1, "GPU": 1, "on-demand": 1}),
    ],
)
def test_what_a_worker_needs_is_said_in_rays_words(argv, needs):
    assert parse(["pose", *argv]).job.placement.needs == needs


@pytest.mark.parametrize("task", TASKS)
def test_a_dry_run_prints_what_repeats_the_run(task, tmp_path, capsys):
    argv = [task, "--steps", "7", "--storage", str(tmp_path / "runs"), "--name", "a"]
    train.command([*argv, "--dry-run"])
    said = capsys.readouterr().out
    printed, _ = json.JSONDecoder().raw_decode(said)
    assert RunConfig.from_json(printed) == parse(argv).job.run
    assert str(tmp_path / "runs" / "a") in said


def test_a_dry_run_starts_nothing(tmp_path, tiny_argv):
    import ray

    was_initialized = ray.is_initialized()
    train.command(["pose", *tiny_argv, "--storage", str(tmp_path / "runs"), "--name", "a", "--dry-run"])
    assert ray.is_initialized() == was_initialized
    assert not (tmp_path / "runs" / "a").exists()


def test_the_notebook_refuses_an_unknown_option_too():
    with pytest.raises(UserError, match="did you mean batch_size"):
        RunConfig.of("pose", batch_sizes=3)
