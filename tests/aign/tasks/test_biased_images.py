"""What super-resolution and inpainting share: they learn, their bias counts, they come back, they read and write."""

import json

import pandas as pd
import pytest
import torch
from PIL import Image

from aign.data.streams import draw
from aign.errors import UserError
from aign.tasks import TASKS
from aign.tasks.stages import Stage
from aign.training.loop import draw_batch, infer_all
from aign.training.players import make_engines
from aign.training.run_config import RunConfig
from aign.training.step import adversarial_step

SMALL = {"num_images": 240, "size": 44, "width": 8, "discriminator_width": 4, "batch_size": 4}
BOX = "box:12:12:28:28"
KINDS = ["superres", "inpaint"]
PRESETS = [(kind, preset) for kind in KINDS for preset in TASKS[kind].presets if not preset.startswith("digits")]


@pytest.fixture(autouse=True)
def few_tested(monkeypatch):
    monkeypatch.setattr("aign.tasks.biased_images.NUM_MEASURED", 6)


@pytest.fixture
def run():
    def run(kind, preset="aign", **changes):
        return RunConfig.of(kind, preset, **SMALL | changes)

    return run


def step_of(run):
    task = run.make_task()
    engines = make_engines(task, run.training)
    (stage,) = task.objective.stages
    return task, adversarial_step(task, engines, stage, draw_batch(task, stage, run.training, 0), run.training, 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("decoder", "upsampling"), [("renderer", "deconvolution"), ("learnt", "resize")])
def test_overfits_one_tiny_batch(kind, decoder, upsampling, run):
    config = run(kind, decoder=decoder, upsampling=upsampling, width=16, num_blocks=1, generator_lr=1e-2, batch_size=2)
    task = config.make_task()
    engines = make_engines(task, config.training)
    stage = Stage(name="all", share=1.0, unlabelled=("inputs",), weights={"reconstruction": 1.0})
    batch = draw_batch(task, stage, config.training, 0)
    losses = []
    for step in range(80):
        engines.generator.set_lr_factor(1 - step / 80)
        losses.append(adversarial_step(task, engines, stage, batch, config.training, step)[0]["reconstruction"])
    assert losses[-1] < 0.35 * losses[0]


@pytest.mark.parametrize(("kind", "preset"), PRESETS)
def test_every_preset_takes_a_step_and_all_its_terms_are_there(kind, preset, run):
    changes = {"num_blocks": 1} if (kind, preset) != ("inpaint", "aign-paper") else {}
    task, (terms, updates) = step_of(run(kind, preset, **changes, update_rule="always", theta_d=0.695, theta_g=0.75))
    assert updates == 1
    assert all(torch.isfinite(term) for term in terms.values())
    assert set(task.objective.stages[0].weights) <= set(terms)


@pytest.mark.parametrize("kind", KINDS)
def test_without_beta_there_are_no_memories_in_the_game(kind, run):
    assert run(kind, beta=0.0).make_task().objective.stages[0].discriminators == ()


@pytest.mark.parametrize("kind", KINDS)
def test_memories_are_what_the_bias_says_and_the_data_says_how_many(kind, run):
    task = run(kind, bias="Old == 1").make_task()
    old = (task.data.source.chosen.memories.table["Old"] == 1).sum()
    assert len(task.data.memories["images"]) == old < len(task.data.source.chosen.memories)
    assert (
        task.metadata["data"]
        == f"generated faces, memories Old == 1 ({old} of {len(task.data.source.chosen.memories)})"
    )
    assert not set(task.data.source.chosen.inputs.table["identity"]) & set(
        task.data.source.chosen.memories.table["identity"]
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("bias", "reason"),
    [("identity == 3", "selects 2 memories, at least 16"), ("Old == 7", "selects none"), ("Olt == 1", "no column Olt")],
)
def test_a_bias_that_cannot_be_is_told_before_the_run(kind, bias, reason, run):
    options = run(kind, bias=bias, num_images=400).options
    with pytest.raises(UserError, match=reason):
        TASKS[kind].data.check(options)


@pytest.mark.parametrize("kind", KINDS)
def test_workers_slices_together_are_the_batch(kind, run, shares):
    stream = run(kind).make_task().data.streams["inputs"]
    whole = draw("inputs", stream, 16, seed=0, step=3, worker=type(shares[0])())["observed"]
    parts = [draw("inputs", stream, 16, seed=0, step=3, worker=share)["observed"] for share in shares]
    for name, values in whole.items():
        assert torch.equal(torch.cat([part[name] for part in parts]), values)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preset", ["aign", "parametric", "aign-paper"])
def test_restored_from_its_metadata_it_infers_and_renders_the_same(kind, preset, run):
    config = run(kind, preset)
    task = config.make_task()
    restored = TASKS[kind].restore(config.options, json.loads(json.dumps(task.metadata)))
    restored.model.generator.load_state_dict(task.model.generator.state_dict())
    observed = task.data.test["observed"]
    inferred, again = infer_all(task.model.generator, observed), infer_all(restored.model.generator, observed)
    torch.testing.assert_close(again, inferred, atol=0, rtol=0)
    rendered = restored.model.renderer(again, observed)
    torch.testing.assert_close(rendered, task.model.renderer(inferred, observed), atol=0, rtol=0)
    assert restored.metadata == task.metadata
    assert (inferred["image"] >= 0).all()
    assert (inferred["image"] <= 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_is_consistent_and_the_baseline_is_measured(kind, run):
    task = run(kind).make_task()
    truth = task.data.test["truth"]["image"]
    inferred = {"image": truth, "whole": truth}
    evaluation = task.evaluator.evaluate(inferred, task.data.test)
    assert evaluation.metrics["mean_absolute_error_percent"] == 0
    assert evaluation.metrics["consistency_psnr_db"] == 100
    assert evaluation.metrics["consistency_ssim"] == pytest.approx(1)
    json.dumps([evaluation.metrics, evaluation.baselines], allow_nan=False)
    assert 0 < evaluation.baselines[task.evaluator.baseline][task.selection_metric] < 20
    assert evaluation.num_samples == 6


def test_a_learnt_decoder_is_measured_beside_the_process_that_it_stands_for(run):
    task = run("superres", "parametric").make_task()
    inferred = infer_all(task.model.generator, task.data.test["observed"])
    inferred["rendered"] = task.data.test["observed"]["image"]
    metrics = task.evaluator.evaluate(inferred | {"image": 0 * inferred["image"]}, task.data.test).metrics
    assert metrics["recovered_psnr_db"] == 100 > 30 > metrics["consistency_psnr_db"]


def test_the_judge_says_how_many_show_the_bias(run, monkeypatch):
    monkeypatch.setattr("aign.evaluation.attributes.STEPS", 20)
    task = run("superres", bias="`Old` == -1").make_task()
    truth = task.data.test["truth"]["image"]
    evaluation = task.evaluator.evaluate({"image": truth}, task.data.test)
    assert evaluation.metrics["bias_percent"] == evaluation.baselines["true images"]["bias_percent"]
    assert evaluation.metrics["bias_percent"] == pytest.approx(100 * (1 - task.evaluator.judge.share(truth)).item())
    assert "judge of Old" in evaluation.notes


def test_the_judge_looks_for_what_is_sought_whatever_the_bias(run, monkeypatch):
    monkeypatch.setattr("aign.evaluation.attributes.STEPS", 20)
    task = run("superres", judge_attribute="Beard == 1").make_task()
    assert task.evaluator.judge.subject == "Beard"
    images = task.data.test["truth"]["image"]
    assert set(task.evaluator.evaluate({"image": images}, task.data.test).baselines["true images"]) >= {"bias_percent"}


def test_the_judge_is_learnt_before_there_are_workers_where_machines_share_a_cache(run, machine, monkeypatch, tmp_path):
    monkeypatch.setattr("aign.evaluation.attributes.STEPS", 20)
    config = run("superres", judge_attribute="Smiling == 1")

    def not_now(*_, **__):
        pytest.fail("a judge is learnt")

    with monkeypatch.context() as patch:
        patch.setattr("aign.evaluation.attributes._train", not_now)
        TASKS["superres"].data.check(config.options)
    monkeypatch.setenv("AIGN_CACHE", f"file://{tmp_path}/store")
    machine("head")
    TASKS["superres"].data.check(config.options)
    machine("worker")
    monkeypatch.setattr("aign.evaluation.attributes._train", not_now)
    task = config.make_task()
    monkeypatch.setattr("aign.data.cache.Store", lambda address: pytest.fail("fetched in the middle of a run"))
    assert task.evaluator.judge.subject == "Smiling"


def test_a_cache_that_cannot_be_used_is_not_taken_for_an_attribute_that_cannot_be_learnt(run, monkeypatch):
    monkeypatch.setenv("AIGN_CACHE", "nonsense://somewhere")
    with pytest.raises(UserError, match=r"nonsense://somewhere: .*is not supported"):
        TASKS["superres"].data.check(run("superres", bias="Old == 1").options)


def test_distances_to_memories_are_smaller_for_images_like_them(run):
    task = run("superres").make_task()
    truth = task.data.test["truth"]["image"]
    sharp, flat = (task.evaluator.evaluate({"image": images}, task.data.test) for images in (truth, 0 * truth))
    assert sharp.metrics["fid"] == sharp.baselines["true images"]["fid"] < flat.metrics["fid"]
    assert sharp.metrics["kid"] < flat.metrics["kid"]
    assert sharp.metrics["content_percent"] == 100
    assert flat.metrics["content_percent"] == pytest.approx(100 / 6)


def test_features_of_a_classifier_that_is_not_there_are_told_before_the_run(run, tmp_path):
    with pytest.raises(UserError, match="not a saved Classifier"):
        TASKS["superres"].data.check(run("superres", features=str(tmp_path / "none.safetensors")).options)


@pytest.mark.parametrize("bias", ["", "Old == 1 and Beard == 1", "Old != 1"])
def test_where_one_attribute_is_not_asked_for_there_is_no_judge(bias, run):
    assert run("superres", bias=bias).make_task().evaluator.judge is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_users_folder_of_images_goes_in_and_images_come_out(kind, run, tmp_path):
    task = run(kind, **({"hidden": BOX} if kind == "inpaint" else {})).make_task()
    task = TASKS[kind].restore(task.config, task.metadata)
    own, out = tmp_path / "own", tmp_path / "out"
    own.mkdir()
    out.mkdir()
    for i, (width, height) in enumerate(((80, 60), (44, 44), (16, 16))):
        Image.new("RGB", (width, height), (60 * i, 100, 200)).save(own / f"{i}.png")
    (own / "3.png").write_bytes(b"no image")
    (own / "._0.png").write_bytes(b"a note")
    mine = task.files.read(own)
    sample = mine.sample
    assert set(sample) == {"observed"}
    assert {name for name, _ in mine.skipped} == {"3.png", "._0.png"}
    written = task.files.write(infer_all(task.model.generator, sample["observed"]), mine, out)
    assert [path.name for path in written] == ["0.png", "1.png", "2.png", "grid.png"]
    assert Image.open(written[0]).size == (44, 44)
    figure = task.evaluator.picture(infer_all(task.model.generator, sample["observed"]), sample)
    assert "learnt from generated faces" in figure.texts[0].get_text()


def test_a_folder_of_ones_own_is_data_too(run, tmp_path):
    for i in range(60):
        Image.new("RGB", (50, 44), (4 * i, 100, 200)).save(tmp_path / f"{i:02}.png")
    names = [f"{i:02}.png" for i in range(60)]
    table = pd.DataFrame({"file": names, "Blue": [1, -1, -1] * 20, "nose_x": 20.0, "nose_y": 20.0})
    table.to_csv(tmp_path / "known.csv", index=False)
    changes = {"data": "folder", "source": str(tmp_path), "table": "known.csv", "bias": "Blue == -1"}
    config = RunConfig.of("superres", **{k: v for k, v in SMALL.items() if k != "num_images"} | changes)
    TASKS["superres"].data.check(config.options)
    assert len(config.make_task().data.source.chosen.inputs) == 24


@pytest.fixture
def labelled(tmp_path):
    """Images of one's own, with labels of 0 and 1, and of others."""
    for i in range(150):
        Image.new("RGB", (44, 44), (i, 100, 200)).save(tmp_path / f"{i:03}.png")
    known = {"file": [f"{i:03}.png" for i in range(150)], "Smiling": [1, 0] * 75, "stars": [1, 2, 3] * 50}
    known["split"] = ["train"] * 120 + ["validation"] * 20 + ["test"] * 10
    pd.DataFrame(known | {"Never": 0}).to_csv(tmp_path / "attributes.csv", index=False)
    small = {k: v for k, v in SMALL.items() if k != "num_images"}
    return lambda **options: RunConfig.of("superres", **small, data="folder", source=str(tmp_path), **options)


@pytest.mark.parametrize(
    "words", [{"judge_attribute": "Smiling == 1"}, {"judge_attribute": "Smiling == 0"}, {"bias": "Smiling == 0"}]
)
def test_labels_of_0_and_1_are_judged_as_those_of_1_and_minus_1(words, labelled, monkeypatch):
    monkeypatch.setattr("aign.evaluation.attributes.STEPS", 5)
    config = labelled(**words)
    TASKS["superres"].data.check(config.options)
    task = config.make_task()
    truth = task.data.test["truth"]["image"]
    assert "bias_percent" in task.evaluator.evaluate({"image": truth}, task.data.test).metrics


@pytest.mark.parametrize("judge_attribute", ["Nope == 1", "stars == 1", "Never == 1"])
def test_what_cannot_be_judged_is_refused_before_the_run(judge_attribute, labelled):
    with pytest.raises(UserError, match=judge_attribute.split()[0]):
        TASKS["superres"].data.check(labelled(judge_attribute=judge_attribute).options)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": "folder"}, "which one is not said; add --source"),
        ({"source": "faces"}, "source = faces: no effect with data 'generated'"),
        ({"data": "celeba", "num_images": 7}, "num_images = 7: no effect"),
        ({"size": 46}, "size = 46: networks halve sides twice; use 48"),
        ({"beta": -1.0}, "beta = -1.0"),
        ({"alpha": "gcn"}, "'gcn' is none of"),
        ({"judge_attribute": "Old > 3"}, "is not about one attribute"),
        ({"alpha": "-2", "scale": "adaptive:0.1"}, "no likelihood for a negative alpha"),
    ],
)
def test_options_that_cannot_be_are_refused(changes, reason):
    with pytest.raises(UserError, match=reason):
        RunConfig.of("superres", **changes)
