"""What leaves a device and comes back: optimizers on the host, checkpoints and exports of one for the other."""

import tempfile
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import torch

import aign
from aign.data.streams import rows
from aign.trained import Trained
from aign.training.engine import TorchEngine
from aign.training.loop import Progress
from ray_jobs.runs.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from tests.gpu.learning import Learner, at_most, deepspeed
from tests.gpu.parts import Check, Place, Verdict

EQUAL_BOUND = 1e-5
HOST = torch.device("cpu")


def offload(place: Place) -> Iterator[Check]:
    """Optimizers on the host learn what they learn on the device."""
    plain = cache(lambda: Learner(place).learn())
    for zero_stage in (1, 2, 3):
        yield (
            f"ZeRO {zero_stage} with its optimizer on the host, plain PyTorch",
            partial(_offloaded, place, plain, zero_stage),
        )


def _offloaded(place: Place, plain, zero_stage: int) -> Verdict:
    learner = Learner(place, make_engine=deepspeed(place, "pose", zero_stage, offload=True)).learn()
    optimizer = learner.engines.generator.optimizer
    moments = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    assert moments
    assert all(value.device == HOST for value in moments), "moments are on the device"
    return at_most(learner.distance(plain()), EQUAL_BOUND, "weights")


def checkpoints(place: Place) -> Iterator[Check]:
    """A checkpoint of either device goes on on the other, and so does an export."""
    host, device = Place(HOST, place.small), place
    for zero_stage in (None, 2):
        how = "plain engine" if zero_stage is None else f"ZeRO {zero_stage}"
        yield (
            f"checkpoint of {device.device.type} ({how}), loaded on cpu",
            partial(_moved, device, host, zero_stage, None),
        )
        yield (
            f"checkpoint of cpu, loaded on {device.device.type} ({how})",
            partial(_moved, host, device, None, zero_stage),
        )
    for a, b in ((device, host), (host, device)):
        yield f"export of {a.device.type}, loaded on {b.device.type}", partial(_exported, a, b)


def _moved(before: Place, after: Place, stage_before: int | None, stage_after: int | None) -> Verdict:
    """The weights arrive as they are, and one more step there is one more step here."""
    first = Learner(before, make_engine=_engine(before, stage_before), ema=0.9).learn(5)
    second = Learner(after, make_engine=_engine(after, stage_after), ema=0.9)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "checkpoint")
        states = {name: getattr(first.engines, name).state() for name in ("generator", "discriminators")}
        write_checkpoint(folder, Checkpoint(progress=Progress(step=5, clock=5), engines=states, renderer={}), {})
        for name, state in read_checkpoint(folder).engines.items():
            getattr(second.engines, name).load(state)
    assert second.distance(first) == 0, "weights have changed on the way"
    second.step = first.step
    return at_most(second.learn(1).distance(first.learn(1)), EQUAL_BOUND, "weights after one more step")


def _engine(place: Place, zero_stage: int | None):
    return TorchEngine if zero_stage is None else deepspeed(place, "pose", zero_stage)


def _exported(before: Place, after: Place) -> Verdict:
    learner = Learner(before).learn(1)
    with tempfile.TemporaryDirectory() as scratch:
        trained = Trained(run=learner.run, task=learner.task, progress=Progress(step=1, clock=1))
        trained.save(scratch)
        loaded = aign.load(scratch, device=after.device.type)
    assert loaded.device.type == after.device.type
    observed = learner.task.model.example(4, torch.Generator().manual_seed(0))
    assert rows(observed) == 4
    expected = {name: values.cpu() for name, values in trained.infer(observed).items()}
    found = loaded.infer(observed)
    gaps = [(found[name].cpu() - values).abs().max() / values.abs().max() for name, values in expected.items()]
    return at_most(max(gaps).item(), 1e-4, "what is inferred")
