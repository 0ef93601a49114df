"""A tiny skeleton with made-up motion, a toy task, machines: the smallest things that the library can work on."""

from contextlib import ExitStack
from functools import partial
from types import MappingProxyType

import pytest
import torch
from torch import nn

from aign.data.motion import ROLES, join_clips
from aign.data.streams import WorkerSlice
from aign.memories import Memory
from aign.renderers.skeleton import Skeleton
from aign.tasks.base import TaskKind
from aign.tasks.parts import Data, Discriminator, Evaluator, LoadedData, Model, Objective
from aign.tasks.stages import Stage
from aign.training.config import TrainingConfig
from aign.training.loop import draw_batch
from aign.training.players import make_engines
from tests.far_device import FAR, far_device

torch.set_num_threads(1)  # tensors here are tiny: threads would only wait for each other


ON_THE_DEVICE = {"discriminators", "generators", "losses", "renderers", "training"}
"""Folders whose tests make their tensors on the device: what they test goes where its inputs are.

Tests of data make none of their own there: data is read on the CPU. Tests of tasks say where a task is to be.
"""


@pytest.fixture(autouse=True)
def default_device(request, device):
    """Tests of these folders make tensors and modules on the device without naming it."""
    with ExitStack() as stack:
        if device.type != "cpu" and request.path.parent.name in ON_THE_DEVICE:
            if device == FAR:
                stack.enter_context(far_device())
            stack.enter_context(device)
        yield


@pytest.fixture
def rng():
    """Random numbers of a test, for tensors made on its device."""
    device = torch.get_default_device()
    return torch.Generator("cpu" if device == FAR else device).manual_seed(0)


@pytest.fixture
def random_rotations(rng):
    def rotations(count, dtype=torch.float32):
        """Proper rotations (count, 3, 3)."""
        q, r = torch.linalg.qr(torch.randn(count, 3, 3, generator=rng, dtype=torch.float64))
        q = q * r.diagonal(dim1=1, dim2=2).sign()[:, None]
        return (q * torch.linalg.det(q)[:, None, None]).to(dtype)

    return rotations


@pytest.fixture
def assert_proper_rotations():
    def check(rotation):
        eye = torch.eye(3, dtype=rotation.dtype).expand_as(rotation)
        torch.testing.assert_close(rotation @ rotation.mT, eye, atol=1e-5, rtol=0)
        torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(len(rotation)).to(rotation))

    return check


@pytest.fixture
def machine(tmp_path, monkeypatch):
    def machine(name):
        """From now on this process is the machine of this name: it has that one's user's cache."""
        folder = tmp_path / "machines" / name
        monkeypatch.setattr("aign.data.cache.user_cache_path", lambda project: folder / project)
        return folder

    return machine


# --- people ----------------------------------------------------------------------------------------------------------

FIGURE_MM = [[0, 0, 0], [120, 10, 0], [-120, 10, 0], [0, -500, 20], [10, -700, -40], [400, -300, 90], [-350, -450, -60]]
"""Seven joints of someone who faces the camera (left hip at +x), relative to the root."""


@pytest.fixture
def skeleton():
    return Skeleton(
        joint_names=("pelvis", "left_hip", "right_hip", "neck", "head", "left_hand", "right_hand"),
        parents=(-1, 0, 0, 0, 3, 3, 3),
        left_hip=1,
        right_hip=2,
        neck=3,
    )


@pytest.fixture
def people(rng):
    def people(count, dtype=torch.float32):
        """(count, 7, 3) mm: the figure with every joint moved a little, somewhere in the world."""
        noise = 40 * torch.randn(count, len(FIGURE_MM), 3, generator=rng, dtype=torch.float64)
        place = 1000 * torch.randn(count, 1, 3, generator=rng, dtype=torch.float64)
        return (torch.tensor(FIGURE_MM, dtype=torch.float64) + noise + place).to(dtype)

    return people


@pytest.fixture
def clips(skeleton, people):
    """Two actions in each role, one clip of 12 frames each."""
    names = [(role, action) for role in ROLES for action in ("wave", "walk")]
    return join_clips(
        name="made-up people",
        skeleton=skeleton,
        clips=[people(12) for _ in names],
        names=[f"{role}/{action}" for role, action in names],
        actions=[action for _, action in names],
        roles=[role for role, _ in names],
    )


# --- the toy task ----------------------------------------------------------------------------------------------------


class ToyGenerator(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, observed):
        return {"z": self.linear(observed["x"])}


class ToyRenderer(nn.Module):
    def forward(self, inferred, observed):
        return {"x": 2 * inferred["z"]}


class ToyStream:
    """x = 2 z for standard normal z; the truth z is given to those who may see it."""

    def __init__(self, labelled):
        self.labelled = labelled

    def plan(self, size, rng):
        return {"z": torch.from_numpy(rng.standard_normal((size, 2), dtype="float32"))}

    def load(self, plan):
        z = plan["z"].to(torch.get_default_device())
        truth = {"truth": {"z": z}} if self.labelled else {}
        return {"observed": {"x": 2 * z}, **truth}


class ToyData(Data):
    def __init__(self, config):
        self.metadata = {"data": "toy"}

    metadata = None

    def load(self, model, device):
        memory = Memory({"z": torch.randn(32, 2)}, bias="any z")
        z, other = torch.randn(5, 2), torch.randn(5, 2)
        return LoadedData(
            source=self,
            streams={"pairs": ToyStream(labelled=True), "unlabelled": ToyStream(labelled=False)},
            memories={"z": memory},
            validation={"observed": {"x": 2 * z}, "truth": {"z": z}},
            test={"observed": {"x": 2 * other}, "truth": {"z": other}},
        )


class ToyModel(Model):
    def __init__(self, config, metadata):
        self.generator, self.renderer = ToyGenerator(), ToyRenderer()

    def discriminators(self, memories):
        return {"z": partial(self._discriminator, memories["z"])}

    def _discriminator(self, memory):
        network = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1), nn.Flatten(0))
        return Discriminator(network=network, sees=lambda factors: factors["z"], memory=memory)

    def example(self, count, random):
        return {"x": torch.randn(count, 2, generator=random)}


class ToyObjective(Objective):
    @classmethod
    def plan(cls, config):
        return config

    def supervision(self, inferred, truth):
        return {"supervision": (inferred["z"] - truth["z"]).square().mean()}

    def reconstruction(self, rendered, observed, done):
        return {"reconstruction": (rendered["x"] - observed["x"]).square().mean()}


class ToyEvaluator(Evaluator):
    selection_metric = "error"

    def measure(self, inferred, samples):
        return {"error": (inferred["z"] - samples["truth"]["z"]).norm(dim=-1)}

    def picture(self, inferred, samples):
        raise NotImplementedError


TOY = TaskKind(
    name="toy",
    Config=tuple,
    presets=MappingProxyType({}),
    data=ToyData,
    model=ToyModel,
    objective=ToyObjective,
    evaluator=ToyEvaluator,
)
"""Observed 2 z, inferred z, remembered other z. Its config is its stages."""


SUPERVISED = Stage(name="supervised", share=0.25, labelled=("pairs",), weights={"supervision": 1.0})
ADVERSARIAL = Stage(
    name="adversarial",
    share=0.75,
    labelled=("pairs",),
    unlabelled=("unlabelled",),
    weights={"supervision": 0.1, "reconstruction": 1.0, "adversarial/z": 0.5},
)


@pytest.fixture
def toy():
    def toy(*, seed=0, **options):
        """A toy task with its two stages, a config, and fresh engines."""
        task = TOY.make((SUPERVISED, ADVERSARIAL), seed)
        config = TrainingConfig(**{"batch_size": 4, "generator_lr": 0.01, "discriminator_lr": 0.01, **options})
        return task, config, make_engines(task, config)

    return toy


@pytest.fixture
def toy_step(toy):
    def toy_step(**options):
        """What ``adversarial_step`` is called with, of the toy task's adversarial stage."""
        task, config, engines = toy(**options)
        return {
            "task": task,
            "engines": engines,
            "stage": ADVERSARIAL,
            "batch": draw_batch(task, ADVERSARIAL, config, 0),
            "config": config,
            "step": 0,
        }

    return toy_step


# --- workers ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[1, 2, 3, 4])
def shares(request):
    """The parts of 1 to 4 workers; three do not divide a batch evenly."""
    return [WorkerSlice(rank, request.param, portions=8) for rank in range(request.param)]
