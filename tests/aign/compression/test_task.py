"""Compression of every task's generator, by the ordinary trainer on plain engines."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from aign.compression.plan import Compression, Schedule
from aign.compression.ranks import uniform
from aign.compression.source import Source
from aign.compression.students import FEATURES, Projected, Thin
from aign.compression.task import compressed
from aign.errors import UserError
from aign.training.loop import draw_batch, evaluate, train
from aign.training.players import make_engines
from aign.training.run_config import RunConfig
from aign.training.step import adversarial_step

SMALL = {
    "digits": {
        "num_images": 200,
        "num_validation": 100,
        "num_test": 100,
        "width": 4,
        "num_blocks": 1,
        "batch_size": 16,
    },
    "superres": {"size": 44, "num_images": 240, "width": 8, "num_blocks": 1, "discriminator_width": 4, "batch_size": 4},
    "inpaint": {"size": 32, "num_images": 240, "width": 8, "num_blocks": 1, "discriminator_width": 4, "batch_size": 4},
    "pose": {"generator": "heatmap", "width": 16, "batch_size": 16},
    "vae": {"size": 16, "num_images": 100, "width": 4, "latent_size": 4, "batch_size": 8},
}
STEPS = {"steps": 4, "log_every": 2, "evaluate_every": 4, "checkpoint_every": 4, "update_rule": "always"}


def run_of(task, **changes):
    return RunConfig.of(task, **SMALL[task] | STEPS | changes)


def ranks_of(task, share=0.5):
    return uniform(Source.of(task).anatomy, share)


def compression_of(task, *, share=0.5, part="thin", **schedule):
    return Compression(source="runs/a@1", ranks=ranks_of(task, share), schedule=Schedule(**schedule), part=part)


def begun(run, **what):
    """A task being compressed, with the student that its run begins with in its engines."""
    task = run.make_task()
    weights = {name: value.clone() for name, value in task.model.generator.state_dict().items()}
    task = compressed(task, compression_of(task, **what), 0)
    if what.get("method") != "scratch":
        task.model.generator.load_state_dict(task.model.student(weights).state_dict())
    return task, weights


class Recorder:
    def __init__(self):
        self.lines, self.evaluations = [], []

    def log(self, progress, stage, values):
        self.lines.append((stage.name, values))

    def evaluation(self, progress, evaluation, draw_picture):
        self.evaluations.append(evaluation)

    def checkpoint(self, progress, engines):
        pass


@pytest.mark.parametrize("name", list(SMALL))
@pytest.mark.parametrize("part", ["projection", "thin"])
def test_every_tasks_generator(name, part, monkeypatch):
    monkeypatch.setattr("aign.tasks.pose.MAX_MEASURED_PER_ACTION", 8)  # heatmaps of thousands take long
    task, _ = begun(run_of(name), part=part, method="projection" if part == "projection" else "activation")
    run, recorder = run_of(name), Recorder()
    engines = make_engines(task, run.training)
    train(task, engines, run.training, recorder)
    assert all(torch.tensor(list(values.values())).isfinite().all() for _, values in recorder.lines)
    stages = ["projection"] if part == "projection" else ["relaxation", "fine-tuning"]
    assert list(dict.fromkeys(stage for stage, _ in recorder.lines)) == stages
    (evaluation,) = recorder.evaluations
    assert 0 < evaluation.metrics["macs_percent"] < 100
    assert 0 < evaluation.metrics["parameters_percent"] < 100
    thin = task.model.thin_network().eval()
    observed = task.model.example(3, torch.Generator().manual_seed(0))
    engines.generator.module.eval()
    torch.testing.assert_close(thin(observed), engines.generator.module(observed), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "method", ["projection", "projection-only", "random", "magnitude", "activation", "factorisation"]
)
def test_what_every_method_begins_with_is_the_whole_network_at_full_rank(method):
    task = run_of("digits").make_task()
    source = {name: value.clone() for name, value in task.model.generator.state_dict().items()}
    anatomy = Source.of(task).anatomy
    ranks = {name: anatomy.layers[name].num_out for name in anatomy.readings}
    part = "projection" if method.startswith("projection") else "thin"
    plan = Compression(source="runs/a@1", ranks=ranks, schedule=Schedule(method=method), part=part)
    student = compressed(run_of("digits").make_task(), plan, 0).model.student(source)
    task.model.generator.eval()
    student.eval()
    inferred, expected = student(task.data.test["observed"]), task.model.generator(task.data.test["observed"])
    features = student.train()(task.data.test["observed"])[FEATURES]
    if method == "random":  # a nonlinearity tells directions apart
        assert features.min() > 1e-3
    else:
        torch.testing.assert_close(inferred, expected, atol=1e-4, rtol=1e-3)
        assert features.max() < 1e-6


def test_only_projections_learn_in_the_first_part():
    task, _ = begun(run_of("digits"), part="projection")
    assert isinstance(task.model.generator, Projected)
    assert all(name.startswith("proxies.") for name, _ in task.model.generator.named_parameters())
    engines = make_engines(task, run_of("digits").training)
    frozen = {name: value.clone() for name, value in task.model.generator.named_buffers()}
    (stage,) = task.objective.stages
    training = run_of("digits").training
    for step in range(3):
        adversarial_step(task, engines, stage, draw_batch(task, stage, training, step), training, step)
    assert all(torch.equal(value, frozen[name]) for name, value in task.model.generator.named_buffers())
    for projection in task.model.generator.projections().values():
        torch.testing.assert_close(projection.mT @ projection, torch.eye(projection.shape[1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("method", "rate"), [("projection", 1e-2), ("activation", 1e-3)])
def test_features_come_nearer_to_the_teachers(method, rate):
    run = run_of("digits", generator_lr=rate)
    task, _ = begun(run, part="projection" if method == "projection" else "thin", method=method, gamma=0.0)
    engines = make_engines(task, run.training)
    stage = task.objective.stages[0]
    batch = draw_batch(task, stage, run.training, 0)
    terms = [adversarial_step(task, engines, stage, batch, run.training, step)[0][FEATURES] for step in range(30)]
    assert terms[-1] < 0.6 * terms[0]


def test_learnt_projections_beat_random_ones():
    """As in the paper's Table 1, in features of a toy network."""
    run = run_of("digits", generator_lr=1e-2)
    found = {}
    for start in ("contribution", "random"):
        task, _ = begun(run, part="projection", start=start, gamma=0.0)
        engines = make_engines(task, run.training)
        (stage,) = task.objective.stages
        batch = draw_batch(task, stage, run.training, 0)
        terms = [adversarial_step(task, engines, stage, batch, run.training, step)[0][FEATURES] for step in range(20)]
        found[start] = terms
    assert found["contribution"][-1] < found["random"][0]
    assert found["random"][-1] < found["random"][0]


def test_gamma_weighs_the_tasks_own_terms():
    task, _ = begun(run_of("superres"), part="projection", gamma=0.5)
    (stage,) = task.objective.stages
    assert stage.weights == {FEATURES: 1.0, "reconstruction": 0.5, "adversarial/image": 0.5 * 0.02}


def test_from_scratch_is_the_task_itself_with_fewer_channels():
    run = run_of("digits")
    task, _ = begun(run, method="scratch")
    assert task.objective.stages == run.make_task().objective.stages
    assert any(isinstance(module, nn.BatchNorm2d) for module in task.model.generator.modules())
    name, rank = next(iter(ranks_of(run.make_task()).items()))
    own = task.model.generator.network.get_submodule(name)
    assert own.out_channels == rank
    assert own.weight.std() > 0.01  # PyTorch's own, whatever the source has learnt
    evaluation, _ = evaluate(task, task.model.generator)
    assert evaluation.metrics["macs_percent"] < 100


def test_a_compressed_network_is_compressed_further():
    run = run_of("digits")
    first, _ = begun(run, method="activation")
    network = first.model.thin_network()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    name = next(iter(first.model.compression.ranks))
    plan = Compression(source="runs/b@1", ranks={name: 1}, schedule=Schedule(method="magnitude"), shapes=shapes)
    again = compressed(run.make_task(), plan, 0)
    student = again.model.student(dict(network.state_dict()))
    assert isinstance(student, Thin)
    assert student.network.get_submodule(name).out_channels == 1
    assert student(again.data.test["observed"])[FEATURES].isfinite().all()


def test_it_goes_to_config_json_and_back():
    run = run_of("digits")
    plan = compression_of(run.make_task(), part="thin")
    run = replace(run, compression=replace(plan, shapes={"head.weight": (10, 16)}, rounds=(("a",), ("b",))))
    assert RunConfig.from_json(run.to_json()) == run


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "random", "start": "random"}, "start = random: no effect with method 'random'"),
        ({"method": "scratch", "gamma": 0.5}, "gamma = 0.5: no effect"),
        ({"method": "projection-only", "projection_share": 0.5}, "no effect"),
        ({"projection_share": 1.5}, "projection_share = 1.5: too large"),
        ({"gamma": -1.0}, "gamma = -1.0"),
    ],
)
def test_schedules_that_cannot_be(options, said):
    with pytest.raises(UserError, match=said):
        Schedule(**options)
