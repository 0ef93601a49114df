"""Our adversarial step beside a hand-written textbook loop: same networks, optimizer and data, in one run."""

import statistics
import time

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from aign.training.loop import draw_batch
from aign.training.players import make_engines
from aign.training.run_config import RunConfig
from aign.training.step import adversarial_step

STEPS, ROUNDS = 30, 5


def ours(run):
    task = run.make_task()
    engines = make_engines(task, run.training)
    stage = task.stages[-1]

    def steps():
        for step in range(STEPS):
            batch = draw_batch(task, stage, run.training, step)
            adversarial_step(task, engines, stage, batch, run.training, step)

    return steps


def textbook(run):
    """Two discriminator passes, as most GAN code has it."""
    task = run.make_task()
    (name,) = task.critics
    critic, generator, stage = task.critics[name], task.generator, task.stages[-1]
    make = {"lr": 1e-4, "betas": run.training.betas}
    g_adam, d_adam = (
        torch.optim.Adam(generator.parameters(), **make),
        torch.optim.Adam(critic.network.parameters(), **make),
    )

    def steps():
        for step in range(STEPS):
            batch = draw_batch(task, stage, run.training, step)
            observed = batch.unlabelled["observed"]
            d_adam.zero_grad()
            fake = critic.sees({k: v.detach() for k, v in generator(observed).items()})
            real_logits, fake_logits = critic.network(critic.sees(batch.remembered[name])), critic.network(fake)
            loss = bce(real_logits, torch.ones_like(real_logits)) + bce(fake_logits, torch.zeros_like(fake_logits))
            loss.backward()
            d_adam.step()
            g_adam.zero_grad()
            inferred = generator(observed)
            logits = critic.network(critic.sees(inferred))
            reprojection = task.reconstruction(task.renderer(inferred), observed)["reprojection"]
            (reprojection + 0.02 * bce(logits, torch.ones_like(logits))).backward()
            g_adam.step()

    return steps


def seconds(steps) -> float:
    started = time.perf_counter()
    steps()
    return (time.perf_counter() - started) / STEPS


@pytest.mark.parametrize("preset", ["aign", "aign-paper"])
def test_step_time(preset, capsys):
    run = RunConfig.of("pose", preset, r1=0.0, update_rule="always", pairs_weight=0.0, discriminators=("joints",))
    loops = {"ours": ours(run), "textbook": textbook(run)}
    times = {name: [seconds(loop) for _ in range(ROUNDS + 1)][1:] for name, loop in loops.items()}
    ours_ms, textbook_ms = (1000 * statistics.median(times[name]) for name in ("ours", "textbook"))
    with capsys.disabled():
        print(
            f"\nstep of {preset}: ours {ours_ms:.1f} ms, textbook {textbook_ms:.1f} ms,"
            f" ratio {ours_ms / textbook_ms:.2f} (medians of {ROUNDS})"
        )
