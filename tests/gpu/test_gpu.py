"""What only a CUDA device can show: engines on it equal the plain one, half precision, compiled and offloaded networks.

``python -m pytest tests/gpu -s`` prints samples per second and memory beside a plain compiled loop.
"""

import time
from functools import partial

import pytest
import torch

from aign.training.acceleration import Acceleration
from aign.training.engine import TorchEngine
from aign.training.loop import draw_batch
from aign.training.players import make_engines
from aign.training.run_config import RunConfig
from aign.training.step import adversarial_step

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
STEPS = 10
QUIET = {"r1": 0.0, "generator_lr": 1e-4, "discriminator_lr": 2e-5}


def deepspeed(zero_stage, **options):
    from ray_jobs.engines import DeepSpeedEngine

    return partial(DeepSpeedEngine, zero_stage=zero_stage, micro_batch_size=128, **options)


def learn(make_engine=TorchEngine, how=None, *, preset="aign", steps=STEPS, **options):
    """Loss terms of some steps on the GPU, the engines' states, and steps per second after the first few."""
    run = RunConfig.of("pose", preset, **(QUIET | options))
    task = run.make_task(torch.device("cuda"))
    engines = make_engines(task, run.training, make_engine, how)
    stage, losses = task.stages[-1], []
    for step in range(steps):
        if step == 5:
            torch.cuda.synchronize()
            started = time.perf_counter()
        batch = draw_batch(task, stage, run.training, step)
        terms, _ = adversarial_step(task, engines, stage, batch, run.training, step)
        losses.append(torch.stack(list(terms.values())))
    torch.cuda.synchronize()
    speed = run.training.batch_size * (steps - 5) / (time.perf_counter() - started)
    return torch.stack(losses).cpu(), engines, speed


def distance(a, b):
    names = [n for n in b.tensors if n.startswith("param/")]
    one, other = (torch.cat([s.tensors[n].double().flatten() for n in names]) for s in (a, b))
    return ((one - other).norm() / other.norm()).item()


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_engines_equal_the_plain_one(zero_stage, offload):
    if offload and not zero_stage:
        pytest.skip("stage 0 shards no optimizer that could be offloaded")
    _, plain, _ = learn()
    _, engines, _ = learn(deepspeed(zero_stage, offload=offload))
    assert distance(engines.generator.state(), plain.generator.state()) <= 1e-5


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_follows_single_precision(precision, zero_stage):
    single, _, _ = learn()
    half, _, _ = learn(deepspeed(zero_stage), precision=precision)
    assert (half - single).abs().max() <= 0.05 * single.abs().max()


@pytest.mark.parametrize(
    "how",
    [Acceleration(compile=True), Acceleration(channels_last=True), Acceleration(activation_checkpointing=True)],
    ids=["compile", "channels_last", "activation_checkpointing"],
)
@pytest.mark.parametrize("preset", ["aign", "aign-paper"])
def test_accelerated_networks_learn_the_same(preset, how):
    plain, _, _ = learn(preset=preset, update_rule="always")
    fast, _, _ = learn(deepspeed(1), how, preset=preset, update_rule="always")
    assert (fast - plain).abs().max() <= 0.02 * plain.abs().max()


def test_a_state_moves_between_cpu_and_gpu():
    _, engines, _ = learn(deepspeed(2), ema=0.9)
    _, others, _ = learn(steps=6, ema=0.9)
    others.generator.load(engines.generator.state())
    assert distance(others.generator.state(), engines.generator.state()) == 0


@pytest.mark.parametrize("preset", ["aign", "aign-paper"])
def test_speed_and_memory(preset, capsys):
    arms = {
        "plain compiled loop": (TorchEngine, Acceleration(compile=True), "fp32"),
        "DeepSpeed 1, fp32": (deepspeed(1), None, "fp32"),
        "DeepSpeed 1, bf16, compiled": (deepspeed(1), Acceleration(compile=True), "bf16"),
        "DeepSpeed 1, bf16, checkpointed": (deepspeed(1), Acceleration(activation_checkpointing=True), "bf16"),
    }
    lines = []
    for name, (make_engine, how, precision) in arms.items():
        torch.cuda.reset_peak_memory_stats()
        options = {"batch_size": 1024, "steps": 55, "precision": precision, "update_rule": "always"}
        _, _, speed = learn(make_engine, how, preset=preset, **options)
        lines.append((name, speed, torch.cuda.max_memory_allocated() / 2**20))
    with capsys.disabled():
        for name, speed, memory in lines:
            print(f"\n{preset}: {name}: {speed:,.0f} samples/s ({speed / lines[0][1]:.2f}), {memory:,.0f} MiB", end="")
