"""The host never waits for the device within a step: no value is looked at, and nothing is sent that it waits for.

Steps run on the meta device, where tensors have no values: whatever looks at one fails, as does an operation on
tensors of two devices. What would run there, but make the host wait for a GPU, is refused by ``NoWaiting``.
"""

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from aign.errors import UserError
from aign.tasks import TASKS
from aign.training.acceleration import Acceleration
from aign.training.loop import draw_batch, infer_all
from aign.training.players import make_engines
from aign.training.run_config import RunConfig
from aign.training.step import adversarial_step
from tests.far_device import what_the_meta_device_lacks

IMAGES = {"num_images": 60, "size": 48, "width": 8, "discriminator_width": 4}
SMALL = {
    "pose": {"width": 32, "num_components": 21, "image_size": 64},
    "superres": IMAGES,
    "inpaint": IMAGES,
    "vae": {"size": 16, "num_images": 40, "width": 4, "latent_size": 6},
    "digits": {"num_images": 60, "num_validation": 100, "num_test": 100, "width": 4, "num_blocks": 1},
}
VARIANTS = [
    *(("pose", None, {"rotation": rotation, "outlier_share": 0.1}) for rotation in ("6d", "euler")),
    ("pose", None, {"discriminators": ("joints", "canonical", "factors"), "discriminator_batch_norm": True}),
    ("pose", None, {"alpha": "adaptive:0:2", "scale_px": "adaptive:2", "accumulate": 2}),
    ("pose", None, {"clip": 0.1, "ema": 0.9, "precision": "bf16"}),
    ("inpaint", None, {"hidden": "eyes", "judged": "whole"}),
    ("superres", None, {"decoder": "learnt", "update_rule": "ratio", "ratio": 2}),
    *(("vae", None, {"distribution": name}) for name in ("normal", "cauchy", "student-t", "general")),
    ("vae", None, {"representation": "pixels"}),
]
LINALG = {torch.linalg.inv, torch.linalg.solve, torch.linalg.svd, torch.linalg.eigh, torch.linalg.lstsq, torch.inverse}
COPIES = {Tensor.to, Tensor.cuda, Tensor.type_as, Tensor.copy_}
INDEXING = {Tensor.__getitem__, Tensor.__setitem__}


class NoWaiting(TorchFunctionMode):
    """Refuses what the host waits for on a GPU though it looks at no value."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        assert func not in LINALG, f"{func.__name__} looks whether it has succeeded"
        given = func(*args, **kwargs)
        if isinstance(given, Tensor) and given.is_meta:
            made = func in (torch.tensor, torch.as_tensor, Tensor.new_tensor)
            assert not made, f"{func.__name__} sends what the host has made"
            sent = func in COPIES and any(tensor.device.type == "cpu" for tensor in tensors_in(args))
            assert not sent or kwargs.get("non_blocking"), f"{func.__name__} waits until it has sent"
        if func in INDEXING and args[0].is_meta:
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            listed = [part for part in index if isinstance(part, list | tuple | range)]
            assert not listed, f"the numbers of an index are sent: {listed}"
            assert all(tensor.is_meta for tensor in tensors_in(index)), "an index is sent"
        return given


def tensors_in(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


@pytest.fixture(autouse=True)
def meta_device():
    with what_the_meta_device_lacks():
        yield


def make(name, preset, options):
    """The run and its task on the meta device."""
    small = SMALL[name]
    if (preset or "").startswith("digits"):  # MNIST has one size and number
        small = {"width": small["width"], "discriminator_width": small["discriminator_width"]}
    run = RunConfig.of(name, preset, **{"batch_size": 8, "update_rule": "always", **small, **options})
    try:
        return run, run.make_task("meta")
    except UserError as error:
        if error.value != "AIGN_DATA":
            raise
        pytest.skip("AIGN_DATA is not set")


def take_steps(run, task, how=None):
    """A step of each stage, with its batch."""
    engines = make_engines(task, run.training, how=how or Acceleration())
    for number, stage in enumerate(task.objective.stages):
        with NoWaiting():
            batch = draw_batch(task, stage, run.training, number)
            terms, _ = adversarial_step(task, engines, stage, batch, run.training, number, done=0.5)
        assert all(term.is_meta for term in terms.values())


PRESETS = [(name, preset, {}) for name, kind in TASKS.items() for preset in kind.presets]


@pytest.mark.parametrize(("name", "preset", "options"), [*PRESETS, *VARIANTS])
def test_nobody_waits_in_a_step(name, preset, options):
    take_steps(*make(name, preset, options))


@pytest.mark.parametrize("name", ["pose", "superres"])
def test_nobody_waits_for_recomputed_activations(name):
    """Random numbers' state would be read back for each block."""
    read = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.utils.checkpoint.get_device_states", lambda *inputs: read.append(inputs) or ([], []))
        take_steps(*make(name, None, {}), Acceleration(activation_checkpointing=True))
    assert not read


@pytest.mark.parametrize(("name", "preset", "options"), PRESETS)
def test_measuring_looks_at_no_value_either(name, preset, options):
    _, task = make(name, preset, options)
    task.evaluator.__dict__["judge"] = None  # which has to learn first
    measured = task.evaluator.measure(infer_all(task.model.generator, task.data.test["observed"]), task.data.test)
    assert all(values.is_meta for values in measured.values())


@pytest.mark.parametrize(
    "wait",
    [
        lambda values: values.new_tensor([1.0]),
        lambda values: torch.tensor([1.0], device=values.device),
        lambda values: values[[0, 1]],
        lambda values: values[:, (0, 1)],
        lambda values: values[torch.tensor([0, 1])],
        lambda values: torch.ones(2).to(values.device),
        lambda values: values.item(),
        lambda values: values[values > 0],
        lambda values: values + torch.ones(2, 2),
    ],
)
def test_these_would_be_found(wait):
    values = torch.zeros(2, 2, device="meta")
    with NoWaiting(), pytest.raises((AssertionError, RuntimeError, NotImplementedError)):
        wait(values)
