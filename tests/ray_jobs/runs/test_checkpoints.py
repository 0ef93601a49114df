"""A checkpoint is whole or it does not exist; the newest two and the best are kept."""

import itertools
import json
import math
import resource
from contextlib import contextmanager

import pytest
import torch

from aign.errors import UserError
from aign.storage.store import Store
from aign.training.engine import EngineState
from aign.training.loop import Progress
from aign.training.run_config import RunConfig
from ray_jobs.runs import checkpoints
from ray_jobs.runs.checkpoints import (
    STATE_FILE,
    Checkpoint,
    OtherFormat,
    checkpoint_steps,
    fetch_checkpoint,
    folder_name,
    newest_progress,
    read_checkpoint,
    read_objective,
    valid_checkpoints,
    write_checkpoint,
)
from ray_jobs.runs.job import Job, Placement, Workers
from ray_jobs.storage.spool import Spool
from ray_jobs.worker.events import Progressed
from ray_jobs.worker.recorder import RunWriter


def made_up(step):
    """A checkpoint of a step, with numbers that belong to it."""
    numbers = torch.Generator().manual_seed(step)
    tensors = {
        "param/layers.0.weight": torch.randn(3, 2, generator=numbers),
        "exp_avg/layers.0.weight": torch.randn(3, 2, generator=numbers).T.reshape(3, 2),
        "buffer/count": torch.tensor(step),
    }
    return Checkpoint(
        progress=Progress(step=step, clock=step + 3, stage=1, stage_clock=2, generator_updates=step + 3),
        engines={
            "generator": EngineState(tensors, {"updates": {"layers.0.weight": step + 3}}),
            "discriminators": EngineState({"param/a": torch.randn(2, generator=numbers)}, {"updates": {}}),
        },
        renderer={"basis": torch.randn(4, generator=numbers).double()},
    )


def assert_equal(a, b):
    assert a.progress == b.progress
    assert a.engines.keys() == b.engines.keys()
    groups = [(a.renderer, b.renderer)] + [(a.engines[n].tensors, b.engines[n].tensors) for n in a.engines]
    for one, other in groups:
        assert one.keys() == other.keys()
        assert all(torch.equal(one[n], other[n]) and one[n].dtype == other[n].dtype for n in one)
    assert {n: e.meta for n, e in a.engines.items()} == {n: e.meta for n, e in b.engines.items()}


def test_what_is_written_is_read(tmp_path):
    folder = tmp_path / folder_name(4)
    write_checkpoint(folder, made_up(4), {"objective": 1.5})
    assert_equal(read_checkpoint(folder), made_up(4))
    assert json.loads((folder / STATE_FILE).read_text())["objective"] == 1.5


def test_nothing_but_safetensors_and_json_is_in_it(tmp_path):
    write_checkpoint(tmp_path / "a", made_up(4), {})
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {STATE_FILE, "generator.safetensors", "discriminators.safetensors", "renderer.safetensors"}


@pytest.fixture
def run(tmp_path):
    """A run in storage with whole checkpoints of steps 4 and 8."""
    for step in (4, 8):
        write_checkpoint(tmp_path / "run" / "checkpoints" / folder_name(step), made_up(step), {"objective": None})
    return Store(tmp_path / "run")


@pytest.fixture
def newest(run, tmp_path):
    """The folder of the newest checkpoint."""
    return tmp_path / "run" / "checkpoints" / folder_name(8)


@pytest.fixture
def read_newest(run, tmp_path):
    def read_newest():
        """The newest whole checkpoint, and what was said on the way to it."""
        said = []
        return next(valid_checkpoints(run, tmp_path / "scratch", said.append)), said

    return read_newest


def test_the_newest_is_read_first(read_newest):
    checkpoint, said = read_newest()
    assert_equal(checkpoint, made_up(8))
    assert not said


def truncate(path):
    path.write_bytes(path.read_bytes()[:-5])


def flip_one_bit(path):
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)


def change_a_digit(path):
    text = path.read_text()
    assert '"step": 8,' in text
    path.write_text(text.replace('"step": 8,', '"step": 9,'))


def remove(path):
    path.unlink()


TENSOR_FILES = ("generator.safetensors", "discriminators.safetensors", "renderer.safetensors")
DAMAGES = [
    *itertools.product((truncate, flip_one_bit, remove), TENSOR_FILES),
    (truncate, STATE_FILE),
    (change_a_digit, STATE_FILE),
]


@pytest.mark.parametrize(("damage", "name"), DAMAGES)
def test_a_damaged_checkpoint_is_skipped_and_named(damage, name, newest, read_newest):
    damage(newest / name)
    checkpoint, said = read_newest()
    assert_equal(checkpoint, made_up(4))
    assert len(said) == 1
    assert "skipped a damaged checkpoint" in said[0]
    assert newest.name in said[0]


def test_a_checkpoint_that_is_still_being_written_does_not_exist(newest, read_newest, run):
    (newest / STATE_FILE).unlink()
    checkpoint, said = read_newest()
    assert_equal(checkpoint, made_up(4))
    assert not said
    assert checkpoint_steps(run) == [4]


def test_a_run_without_a_whole_checkpoint_has_none(run, tmp_path):
    for step in (4, 8):
        truncate(tmp_path / "run" / "checkpoints" / folder_name(step) / "generator.safetensors")
    said = []
    assert not list(valid_checkpoints(run, tmp_path / "scratch", said.append))
    assert len(said) == 2


def test_a_damaged_checkpoint_asked_for_by_step_is_one_line(run, newest, tmp_path):
    truncate(newest / "generator.safetensors")
    with pytest.raises(UserError) as refused:
        fetch_checkpoint(run, 8, tmp_path / "scratch")
    assert "\n" not in str(refused.value)


# --- states with the right hash, and what cannot be in them ----------------------------------------------------------


def rewrite(folder, **changes):
    """Change fields of state.json, by path, and make its hash right."""
    state = json.loads((folder / STATE_FILE).read_text())
    del state["sha256"]
    for path, value in changes.items():
        *parents, name = path.split("__")
        inner = state
        for parent in parents:
            inner = inner[parent]
        inner[name] = value
    (folder / STATE_FILE).write_text(json.dumps(state | {"sha256": checkpoints._own_hash(state)}))


@pytest.mark.parametrize(
    "changes",
    [
        *({"progress__step": step} for step in ("8", 2.5, 1e20, None, True, -8, 9)),
        *({"progress__stage": stage} for stage in (-1, 99, "1", None)),
        {"progress__clock": 10**20},
        {"progress__stage_clock": 100},
        {"progress__more": 1},
        {"progress": None},
        {"files": None},
        {"files": {}},
        {"engines": {}},
        {"engines__generator__updates": {}},
        {"engines__stranger": {"updates": {}}},
    ],
)
def test_a_state_that_no_run_can_be_in_is_damage(changes, newest, run, tmp_path):
    rewrite(newest, **changes)
    said = []
    checkpoint = next(valid_checkpoints(run, tmp_path / "scratch", said.append, num_stages=2))
    assert_equal(checkpoint, made_up(4))
    assert len(said) == 1
    assert f"{run.uri}/checkpoints/{newest.name}" in said[0]
    assert "scratch" not in said[0]


@pytest.mark.parametrize("version", [99, 1, None, "2"])
def test_a_checkpoint_of_another_format_is_neither_read_nor_passed_over(version, newest, run, tmp_path):
    rewrite(newest, format=version)
    with pytest.raises(OtherFormat):
        list(valid_checkpoints(run, tmp_path / "scratch"))
    assert newest_progress(run).step == 4


def test_strange_files_among_checkpoints_are_passed_over(run, tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    (folder / "notes.txt").write_text("?")
    (folder / "step_0000012").write_text("?")
    (folder / "step_00000016").mkdir()
    (folder / "step_00000016" / STATE_FILE).write_text("{}")
    assert checkpoint_steps(run) == [8, 4]


def test_a_damaged_state_has_no_objective(run, newest):
    truncate(newest / STATE_FILE)
    assert read_objective(run, 8) is None


# --- which are kept --------------------------------------------------------------------------------------------------


@pytest.fixture
def write_run(tmp_path):
    """Writes checkpoints with the given objectives as one attempt of a run does; gives the steps that stay."""
    job = Job(run=RunConfig.of("pose"), placement=Placement(storage=str(tmp_path), workers=Workers(0, 0)), name="run")
    attempts = itertools.count(1)

    def write_run(objectives):
        spool = Spool(job.folder, tmp_path / "spool", print)
        writer = RunWriter(job, next(attempts), spool, lambda event: None)
        for step, objective in objectives.items():
            writer.checkpoint(made_up(step), {"objective": objective})
        writer.close()
        spool.close(30)
        return sorted(checkpoint_steps(job.folder))

    return write_run


@pytest.mark.parametrize(
    ("objectives", "kept"),
    [
        ({4: 3.0}, [4]),
        ({4: 3.0, 8: 1.0, 12: 2.0, 16: 2.5}, [8, 12, 16]),
        ({4: 1.0, 8: 3.0, 12: 2.0, 16: 2.5}, [4, 12, 16]),
        ({4: 4.0, 8: 3.0, 12: 2.0, 16: 1.0}, [12, 16]),
        ({4: None, 8: 3.0, 12: None, 16: None, 20: None}, [8, 16, 20]),
        ({4: None, 8: None, 12: None}, [8, 12]),
        ({4: math.nan, 8: 1.0, 12: 2.0, 16: 2.5}, [8, 12, 16]),
        ({4: -math.inf, 8: 1.0, 12: 2.0, 16: 2.5}, [8, 12, 16]),
    ],
)
def test_the_newest_two_and_the_best_are_kept(objectives, kept, write_run):
    assert write_run(objectives) == kept


def test_a_later_attempt_knows_the_best_of_earlier_ones(write_run):
    write_run({4: 1.0, 8: 3.0})
    assert write_run({12: 2.0, 16: 2.5}) == [4, 12, 16]


def test_metrics_are_stored_before_the_checkpoint_that_they_led_to(tmp_path, monkeypatch):
    job = Job(run=RunConfig.of("pose"), placement=Placement(storage=str(tmp_path), workers=Workers(0, 0)), name="run")
    spool = Spool(job.folder, tmp_path / "spool", print)
    order = []
    monkeypatch.setattr(spool, "put", lambda path, data: order.append(path))
    monkeypatch.setattr(spool, "put_folder", lambda folder, path, last: order.append(path))
    writer = RunWriter(job, 1, spool, lambda event: None)
    writer.emit(Progressed(step=4, clock=4, stage="first", generator_updates=4, values={}))
    writer.checkpoint(made_up(4), {"objective": None})
    writer._thread.shutdown(wait=True)
    events = "tensorboard/events.out.tfevents.001-000000"
    assert order == ["metrics/001-000000.jsonl", events, "checkpoints/step_0000004"]


@contextmanager
def little_room():
    """No file may grow, as on a disk that is full; not even the one that pytest's output goes to, if it is a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_without_room_for_a_checkpoint_is_named(write_run, tmp_path):
    with pytest.raises(UserError) as full, little_room():
        write_run({4: None})
    assert full.value.value == tmp_path / "spool"
