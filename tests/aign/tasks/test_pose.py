"""The pose task, on made-up people with seven joints: it learns, its parts agree, it comes back from its metadata."""

import json
from dataclasses import replace

import pytest
import torch

from aign.errors import UserError
from aign.evaluation.pose import mean_distance
from aign.tasks.parts import UserInput
from aign.tasks.pose import POSE, SUPERVISION
from aign.tasks.stages import Stage
from aign.training.loop import draw_batch
from aign.training.players import make_engines
from aign.training.run_config import RunConfig
from aign.training.step import adversarial_step

SMALL = {"width": 32, "num_components": 21, "image_size": 64, "batch_size": 4}
"""With 21 components the basis holds every pose of seven joints."""


@pytest.fixture
def pose_run(clips, monkeypatch):
    def pose_run(preset="aign", **changes):
        monkeypatch.setattr("aign.tasks.pose.generated_bodies", lambda: clips)
        return RunConfig.of("pose", preset, **SMALL | changes)

    return pose_run


@pytest.fixture
def task(pose_run):
    return pose_run().make_task()


def true_factors(task, truth):
    return {"weights": task.model.renderer.weights(truth["canonical_mm"])} | {
        name: truth[name] for name in ("rotation", "translation_mm", "focal_px")
    }


@pytest.mark.parametrize("generator", ["residual", "heatmap"])
def test_overfits_one_tiny_batch(generator, pose_run):
    run = pose_run(generator=generator, width=64, generator_lr=3e-3)
    task = run.make_task()
    stage = Stage(
        name="all", share=1.0, labelled=("pairs",), unlabelled=("pairs",), weights=SUPERVISION | {"reprojection": 1.0}
    )
    batch = draw_batch(task, stage, run.training, 0)
    engines = make_engines(task, run.training)
    losses = []
    for step in range(150):
        engines.generator.set_lr_factor(1 - step / 150)
        losses.append(adversarial_step(task, engines, stage, batch, run.training, step)[0])
    first, last = losses[0], losses[-1]
    assert last["reprojection"] < 0.1 * first["reprojection"]
    assert last["supervision/joints"] < 0.1 * first["supervision/joints"]
    assert last["supervision/joints"] < 0.02  # metres


@pytest.mark.parametrize("preset", POSE.presets)
def test_every_preset_takes_a_step_of_each_of_its_stages(preset, pose_run):
    run = pose_run(preset)
    task = run.make_task()
    engines = make_engines(task, run.training)
    assert sum(stage.share for stage in task.objective.stages) == pytest.approx(1)
    for step, stage in enumerate(task.objective.stages):
        before = [parameter.detach().clone() for parameter in task.model.generator.parameters()]
        terms, updates = adversarial_step(
            task, engines, stage, draw_batch(task, stage, run.training, step), run.training, step
        )
        assert all(torch.isfinite(term) for term in terms.values())
        assert set(stage.weights) <= set(terms)  # every term that is weighed is there
        moved = any(not torch.equal(a, b) for a, b in zip(before, task.model.generator.parameters(), strict=True))
        assert moved == (updates > 0)


def test_presets_are_the_papers_baselines(pose_run):
    def stages(preset):
        return {stage.name: set(stage.weights) for stage in POSE.objective.plan(pose_run(preset).options)}

    assert stages("forward2dto3d") == {"supervised": set(SUPERVISION)}
    assert stages("3d-interpreter")["self-supervised"] == {"reprojection"}
    assert stages("3d-interpreter-pairs")["self-supervised"] == {"reprojection", *SUPERVISION}
    assert stages("aign")["self-supervised"] == {"reprojection", "adversarial/joints", *SUPERVISION}
    assert stages("aign-paper")["self-supervised"] == {"reprojection", "adversarial/factors", *SUPERVISION}


@pytest.mark.parametrize("stream", ["synthetic", "pairs"])
def test_the_truth_of_pairs_has_no_loss(stream, task, pose_run):
    stage = Stage(name="s", share=1.0, labelled=(stream,), weights=SUPERVISION)
    pairs = draw_batch(task, stage, pose_run().training, 0).labelled
    factors = true_factors(task, pairs["truth"])
    terms = task.objective.supervision(factors, pairs["truth"]) | task.objective.reconstruction(
        task.model.renderer(factors, pairs["observed"]), pairs["observed"], 0.0
    )
    assert set(terms) == {*SUPERVISION, "reprojection"}
    for name, term in terms.items():
        assert term < 1e-3, name


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_truth_has_no_error_and_the_baselines_have(task, split):
    samples = task.data.samples(split)
    evaluation = task.evaluator.evaluate(true_factors(task, samples["truth"]), samples)
    assert set(evaluation.metrics) == {"mpjpe_mm", "pa_mpjpe_mm", "torso_aligned_mm", "reprojection_px"}
    assert all(value < 0.2 for value in evaluation.metrics.values())
    assert POSE.selection_metric in evaluation.metrics
    for baseline in ("mean pose", "flat lift"):
        assert evaluation.baselines[baseline][POSE.selection_metric] > 10
    assert set(evaluation.groups) == {"walk", "wave"}
    assert evaluation.num_samples == 24
    assert set(evaluation.inductive) == (set(evaluation.metrics) if split == "test" else set())


def test_only_what_the_metrics_are_of_was_seen_in_training(task):
    truth, observed = task.data.test["truth"], task.data.test["observed"]["keypoints_px"]
    unlabelled = task.data.streams["unlabelled"].keypoints_px
    found = (observed[:, None] == unlabelled).flatten(2).all(2).any(1)
    assert torch.equal(found, truth["seen"])
    assert not (task.data.validation["observed"]["keypoints_px"][:, None] == unlabelled).flatten(2).all(2).any()
    factors = true_factors(task, truth)
    factors["weights"] = factors["weights"] * torch.where(truth["seen"], 1.0, 2.0)[:, None]
    evaluation = task.evaluator.evaluate(factors, task.data.test)
    assert evaluation.metrics["mpjpe_mm"] < 0.2 < evaluation.inductive["mpjpe_mm"]


def test_averages_count_every_action_once(task):
    values = torch.tensor([1.0, 1, 1, 9])
    names = task.evaluator.measure(true_factors(task, task.data.validation["truth"]), task.data.validation)
    measured = {name: values for name in names} | {"action": torch.tensor([0, 0, 0, 1])}
    evaluation = task.evaluator.summarize(measured)
    assert evaluation.metrics["mpjpe_mm"] == 5
    assert evaluation.groups["walk"]["mpjpe_mm"] == 1


def test_joints_behind_the_camera_say_nothing(task):
    observed = {"keypoints_px": torch.zeros(1, 2, 2)}
    rendered = {"keypoints_px": torch.tensor([[[3.0, 4], [1e6, 0]]]), "in_front": torch.tensor([[True, False]])}
    behind = task.objective.reconstruction(rendered, observed, 0.0)["reprojection"]
    without = task.objective.reconstruction(
        {**rendered, "keypoints_px": torch.tensor([[[3.0, 4], [0, 0]]])}, observed, 0.0
    )
    assert behind == without["reprojection"]


@pytest.mark.parametrize("name", ["joints", "canonical", "factors"])
def test_discriminators_see_what_their_names_say(name, pose_run):
    task = pose_run(discriminators=(name,)).make_task()
    stage = task.objective.stages[1]
    factors = draw_batch(task, stage, pose_run().training, 0).remembered[name]
    seen = task.discriminators[name].sees(factors)
    turned = task.discriminators[name].sees(factors | {"rotation": factors["rotation"].roll(1, 0)})
    moved = task.discriminators[name].sees(factors | {"translation_mm": factors["translation_mm"] + 500})
    assert torch.isfinite(seen).all()
    assert torch.equal(turned, seen) == (name == "canonical")
    assert torch.equal(moved, seen) == (name != "factors")


def test_memories_are_of_other_clips_than_pairs_and_test_input(task, clips):
    shapes = task.model.renderer.shape(task.data.memories["poses"].samples["weights"])
    assert len(shapes) == len(clips.frames("memories")) == 24
    others = torch.cat([task.data.streams["pairs"].bodies.canonical_mm, task.data.test["truth"]["canonical_mm"]])
    assert torch.cdist(shapes.flatten(1), others.flatten(1)).min() > 1


def test_the_seed_decides_the_networks(pose_run):
    first, again, other = (pose_run(seed=seed).make_task() for seed in (0, 0, 1))
    inferred = [task.model.generator(task.data.test["observed"])["weights"] for task in (first, again, other)]
    assert torch.equal(inferred[0], inferred[1])
    assert not torch.equal(inferred[0], inferred[2])


def test_every_run_is_measured_on_the_same_views(pose_run):
    first, other = (pose_run(seed=seed).make_task() for seed in (0, 1))
    assert torch.equal(first.data.test["observed"]["keypoints_px"], other.data.test["observed"]["keypoints_px"])


@pytest.mark.parametrize("preset", ["aign", "aign-paper"])
def test_restored_from_its_metadata_it_infers_and_renders_the_same(preset, pose_run):
    run = pose_run(preset)
    task = run.make_task()
    restored = POSE.restore(run.options, json.loads(json.dumps(task.metadata)))
    restored.model.generator.load_state_dict(task.model.generator.state_dict())
    restored.model.renderer.load_state_dict(task.model.renderer.state_dict())
    task.model.generator.eval()
    restored.model.generator.eval()
    observed = task.data.test["observed"]
    inferred, again = task.model.generator(observed), restored.model.generator(observed)
    torch.testing.assert_close(again, inferred, atol=0, rtol=0)
    rendered = restored.model.renderer(again, observed)
    torch.testing.assert_close(rendered, task.model.renderer(inferred, observed), atol=0, rtol=0)
    assert restored.model.skeleton == task.model.skeleton
    assert restored.metadata == task.metadata


def test_a_users_keypoints_go_in_and_poses_come_out(task, tmp_path):
    path = tmp_path / "people.json"
    people = (10 * task.data.test["observed"]["keypoints_px"][:3] + 700).tolist()
    people[1] = [[0, 0]] * len(people[1])
    path.write_text(json.dumps(people))
    own = task.files.read(path)
    assert set(own.sample) == {"observed"}
    (written,) = task.files.write(task.model.generator(own.sample["observed"]), own, tmp_path)
    first, nobody, last = json.loads(written.read_text())["poses"]
    assert nobody is None
    assert [name for name, _ in own.skipped] == ["person 1"]
    for pose in (first, last):
        assert torch.tensor(pose["joints_mm"])[task.model.skeleton.root].abs().max() == 0


def test_people_unlike_those_of_the_test_set_are_doubted(task):
    observed = task.data.test["observed"]["keypoints_px"][:3].clone()
    inferred = task.model.generator({"keypoints_px": observed})
    own = UserInput(sample={"observed": {"keypoints_px": observed}}, names=("0", "4", "7"))
    error_px = mean_distance(task.model.renderer(inferred, {})["keypoints_px"], observed)
    assert task.files.doubts(inferred, own, {"reprojection_px": error_px.max().item()}) == []
    assert task.files.doubts(inferred, own, {}) == []
    (doubt,) = task.files.doubts(inferred, own, {"reprojection_px": error_px.max().item() / 11})
    assert f"person {own.names[int(error_px.argmax())]}" in doubt
    assert task.model.skeleton.joint_names[0] in doubt


def test_check_data_reads_the_data_that_the_options_name(pose_run, monkeypatch):
    options = pose_run().options
    POSE.data.check(options)
    monkeypatch.delenv("AIGN_DATA", raising=False)
    with pytest.raises(Exception, match="AIGN_DATA: is not set"):
        POSE.data.check(replace(options, data="cmu"))


# --- the shape of the reprojection loss ------------------------------------------------------------------------------


def self_supervised_step(run, done):
    task = run.make_task()
    engines = make_engines(task, run.training)
    stage = task.objective.stages[-1]
    batch = draw_batch(task, stage, run.training, 0)
    return adversarial_step(task, engines, stage, batch, run.training, 0, done)[0], task


def test_a_schedule_goes_by_the_run_and_is_recorded(pose_run):
    (first, _), (last, _) = (
        self_supervised_step(pose_run(alpha="linear:2:0", scale_px="geometric:8:2"), done) for done in (0.0, 1.0)
    )
    assert (first["alpha"], first["scale"], last["alpha"], last["scale"]) == (2, 8, 0, pytest.approx(2))
    assert first["reprojection"] > last["reprojection"]


def test_a_learnt_shape_learns_with_the_generator_and_comes_back_with_it(pose_run):
    terms, task = self_supervised_step(pose_run(alpha="adaptive:0:2", scale_px="adaptive:2"), 0.0)
    assert (terms["alpha"], terms["scale"]) == (1, 2)
    learnt = {name: p for name, p in task.model.generator.named_parameters() if name.startswith("reprojection_loss")}
    assert {name.split(".")[1] for name in learnt} == {"latent_alpha", "latent_scale"}
    assert all(p.item() != 0 for p in learnt.values())
    again = POSE.restore(task.config, task.metadata)
    again.model.generator.load_state_dict(task.model.generator.state_dict())


def test_a_fixed_shape_is_neither_recorded_nor_learnt_and_has_one_spelling(pose_run):
    terms, task = self_supervised_step(pose_run(), 0.0)
    assert not {"alpha", "scale"} & terms.keys()
    assert not any(name.startswith("reprojection_loss") for name, _ in task.model.generator.named_parameters())
    assert pose_run(alpha="1.0", scale_px="2").options == pose_run().options


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": "gcn"}, "alpha = gcn: 'gcn' is none of"),
        ({"scale_px": "-1"}, "positive"),
        ({"alpha": "-2", "scale_px": "adaptive:2"}, "no likelihood for a negative alpha"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(changes, message, pose_run):
    with pytest.raises(UserError, match=message):
        pose_run(**changes)
