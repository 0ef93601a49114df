"""What a sweep is, from its command line; the command that repeats a trial; what is refused before anything starts."""

import json
from contextlib import nullcontext

import pytest

from aign.errors import UserError
from aign.storage.store import Store
from ray_jobs.cli.options import parse
from ray_jobs.sweep import command
from ray_jobs.sweeps.plan import Sweep, plan
from ray_jobs.sweeps.results import groups, repeating
from ray_jobs.sweeps.trial_log import Record

RUN = ["--steps", "100", "--evaluate-every", "20", "--checkpoint-every", "20", "--workers", "0", "--device", "cpu"]


def sweep_of(*argv, space="alpha=fixed:{-2:2}"):
    return plan(["pose", "--space", space, *RUN, *argv])


def segment(run, step, **values):
    return {"run": run, "values": values, "step": step, "clock": step}


def finished(trial, objective, *path):
    return Record(trial=trial, point={}, status="finished", path=list(path), objective=objective)


def test_a_trial_is_the_run_with_its_values_and_the_command_repeats_it(tmp_path):
    sweep = sweep_of("--storage", str(tmp_path), "--name", "s", "--preset", "3d-interpreter")
    job = sweep.trial_job("trials/003/0", {"alpha": "fixed:-1.5", "betas": "0.9 0.999"})
    assert job.folder.uri == f"{tmp_path}/s/trials/003/0"
    assert job.run.options.alpha == "fixed:-1.5"
    assert job.run.training.betas == (0.9, 0.999)
    again = sweep.command({"alpha": "fixed:-1.5", "betas": "0.9 0.999"})
    assert again.startswith("aign train pose ")
    assert parse(again.split()[2:]).job.run == job.run
    assert "--name" not in again


def test_a_population_path_of_fixed_alphas_is_repeated_by_one_schedule(tmp_path):
    sweep = sweep_of("--storage", str(tmp_path), "--scheduler", "pbt")
    path = [segment("trials/001/0", 0, alpha="fixed:1.5"), segment("trials/000/1", 60, alpha="fixed:0.25")]
    job = parse(repeating(sweep, finished(0, 1.0, *path)).split()[2:]).job
    assert job.run.options.alpha == "steps:0=1.5,0.6=0.25"


def test_a_path_that_no_schedule_spells_names_the_run(tmp_path):
    sweep = sweep_of("--storage", str(tmp_path), space="generator_lr={log:1e-4:1e-2}")
    path = [segment("trials/001/0", 0, generator_lr="1e-3"), segment("trials/000/1", 60, generator_lr="1e-4")]
    assert "trials/000/1/export" in repeating(sweep, finished(0, 1.0, *path))


def test_trials_that_differ_in_the_seed_only_are_one_group(tmp_path):
    sweep = sweep_of("--search", "grid", space="alpha=fixed:1|gnc")
    records = [
        finished(i, objective, segment(f"trials/{i:03d}/0", 0, alpha=alpha, seed=seed))
        for i, (alpha, seed, objective) in enumerate([("gnc", "0", 3.0), ("fixed:1", "0", 1.0), ("gnc", "1", 1.0)])
    ]
    assert [(values, len(own)) for values, own in groups(sweep, records)] == [
        ({"alpha": "fixed:1"}, 1),
        ({"alpha": "gnc"}, 2),
    ]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--space", "alhpa=gnc", *RUN], "did you mean --alpha"),
        (["--space", "alpha=fixed:one", *RUN], "1 number"),
        (["--space", "alpha=gnc", *RUN, "--alpha", "gnc"], "both fixed and searched"),
        (["--space", "alpha=gnc", *RUN, "--alpha=gnc"], "both fixed and searched"),
        (["--space", "alpha=gnc|fixed:{0:2}", "--search", "grid", *RUN], "no end of values"),
        (["--space", "alpha=gnc|fixed:{0:2}", "--scheduler", "pbt", *RUN], "differ in numbers only"),
        (["--space", "alpha=gnc", "--scheduler", "pbt", *RUN], "no number to explore"),
        (["--space", "alpha=fixed:{0:2}", "--scheduler", "pbt", "--search", "optuna", *RUN], "random points"),
        (["--space", "alpha=fixed:{0:2}", "--scheduler", "pbt", "--perturb-every", "30", *RUN], "not a multiple"),
        (["--space", "alpha=gnc", "--perturb-every", "40", *RUN], "no effect"),
        (["--space", "alpha=gnc", "--trials", "0", *RUN], "trials = 0"),
        (["--space", "alpha=gnc", *RUN, "--stepz", "3"], "did you mean --steps"),
        ([*RUN], "nothing to search"),
        (
            ["--space", "alpha=gnc", *RUN, "--dry-run", "--like", "x", "--price-per-worker-hour", "-1"],
            "price_per_worker_hour = -1",
        ),
        (["--space", "name=a|b", *RUN], "--name"),
        (["--space", "from=x", *RUN], "--from"),
        (["--space", "workers=1|2", *RUN], "--workers"),
        (["--space", "alpha=gnc", "--metric", "nope", *RUN], "--metric nope"),
        (["--space", "alpha=gnc", "--cost", "nope", *RUN], "--cost nope"),
        (["--space", "data=generated|cmu", *RUN], "AIGN_DATA"),
        (["--space", "batch_size={int:1:7}", *RUN], "batch_size = 1"),
        (["--space", "batch_size={int:4:8}", *RUN], "batch_size = 5"),
        (["--space", "alpha=fixed:{-2:2}{-2:2}", *RUN], "alpha"),
        (["--space", "alpha=fixed:{-2:2}", "--trials", "1000000000", *RUN], "trials = 1000000000"),
    ],
)
def test_refused_in_one_line(refused, argv, says, tmp_path, monkeypatch):
    monkeypatch.delenv("AIGN_DATA", raising=False)
    assert says in refused(command, "pose", *argv, "--storage", tmp_path, "--dry-run")


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(tmp_path, capsys):
    argv = ["pose", "--space", "alpha=gnc|fixed:1", "seed=0|1", "--search", "grid", *RUN, "--storage", str(tmp_path)]
    command([*argv, "--dry-run"])
    said = capsys.readouterr().out
    assert "4 trials, 1 at a time" in said
    assert json.loads(said[: said.index("\ndry run")])["space"] == {"alpha": ["gnc", "fixed:1"], "seed": ["0", "1"]}
    assert "price" not in said
    assert "cost: not known; " in said
    assert not list(tmp_path.iterdir())


def test_trials_which_stand_in_other_folders_find_every_place(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    faces = ["superres", "--data", "folder", "--source", "photos", "--features", "s3://bucket/features"]
    sweep = plan([*faces, "--space", "beta=0.02|0.1", "--search", "grid"])
    monkeypatch.chdir("elsewhere")
    job = sweep.trial_job("trials/000/0", {"beta": "0.02"})
    assert job.placement.storage == str(tmp_path / "runs")
    assert job.run.options.source == str(tmp_path / "photos")
    assert job.run.options.features == "s3://bucket/features"
    assert f"--source {tmp_path}/photos" in sweep.command({"beta": "0.02"})


def test_another_sweep_of_the_same_name_is_refused(tmp_path):
    argv = ["--storage", str(tmp_path), "--name", "s"]
    sweep = sweep_of(*argv)
    sweep.folder.write("sweep.json", json.dumps(sweep.to_json()).encode())
    sweep_of(*argv, "--trials", "99", "--max-concurrent", "3").check_existing()
    with pytest.raises(UserError, match="steps was 100, now 50"):
        plan(["pose", "--space", "alpha=fixed:{-2:2}", *RUN, "--steps", "50", *argv]).check_existing()
    with pytest.raises(UserError, match="sweep with other options"):
        sweep_of(*argv, space="alpha=fixed:{-1:2}").check_existing()


@pytest.mark.parametrize(
    ("scheduler", "changed", "same"),
    [
        ("none", ["--log-every", "7"], True),
        ("none", ["--checkpoint-every", "50"], True),
        ("none", ["--evaluate-every", "10"], True),
        ("none", ["--generator-lr", "0.1"], False),
        ("asha", ["--log-every", "7"], True),
        ("asha", ["--evaluate-every", "10"], False),  # where a scheduler looks
        ("pbt", ["--log-every", "7"], True),
        ("pbt", ["--perturb-every", "40"], False),
    ],
)
def test_options_that_change_no_number_may_differ_when_a_sweep_goes_on(scheduler, changed, same, tmp_path):
    argv = ["--storage", str(tmp_path), "--name", "s", "--scheduler", scheduler]
    sweep, other = sweep_of(*argv), sweep_of(*argv, *changed)
    with nullcontext() if same else pytest.raises(UserError):
        other.check_existing([sweep.recipe])  # that of a command which has just begun
    sweep.folder.write("sweep.json", json.dumps(sweep.to_json()).encode())
    sweep.check_existing()
    with nullcontext() if same else pytest.raises(UserError):
        other.check_existing()


def test_a_range_over_what_cannot_be_is_refused_before_the_sweep(tmp_path):
    with pytest.raises(UserError) as refused:
        plan(["pose", "--space", "width={int:-5:5}", *RUN, "--storage", str(tmp_path)])
    assert refused.value.value == "width = -5"
    assert not list(tmp_path.iterdir())


def test_a_sweep_is_read_back_from_its_folder(tmp_path):
    sweep = sweep_of("--storage", str(tmp_path), "--name", "s", "--trials", "3", "--scheduler", "pbt")
    sweep.folder.write("sweep.json", json.dumps(sweep.to_json()).encode())
    stored = Sweep.stored(Store(tmp_path / "s"))
    assert stored.to_json() == sweep.to_json()
    assert stored.folder == sweep.folder
    assert stored.num_trials == 3
    assert stored.command({"alpha": "fixed:1"}) == sweep.command({"alpha": "fixed:1"})


@pytest.mark.parametrize("text", ["{not json", "[]", '{"sweep": {}}'])
def test_a_sweep_that_cannot_be_read_back_is_one_line(text, tmp_path):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(UserError, match=r"sweep.json: "):
        Sweep.stored(Store(tmp_path))


def test_a_dry_run_looks_at_a_few_trials_of_many(tmp_path, monkeypatch):
    looked_at = []
    own = Sweep.trial_job
    monkeypatch.setattr(Sweep, "trial_job", lambda *given: looked_at.append(given) or own(*given))
    command(
        ["pose", "--space", "seed={int:0:100000}", "--trials", "9000", *RUN, "--storage", str(tmp_path), "--dry-run"]
    )
    assert len(looked_at) < 100
