"""Networks as ONNX files: the same results for any size of batch, or a refusal that says why."""

import sys

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from aign.errors import UserError
from aign.onnx_export import write_onnx
from aign.training.loop import infer_all
from aign.training.run_config import RunConfig, find_task

FACES = {"num_images": 60, "size": 44, "width": 8, "num_blocks": 1, "discriminator_width": 4}
NETWORKS = [
    ("pose", "aign", {"width": 16, "num_blocks": 1}),
    ("pose", "aign-paper", {"width": 16}),
    ("superres", "parametric", FACES),
    ("superres", "aign-paper", FACES),
    ("inpaint", "parametric", FACES),
    ("inpaint", "aign-paper", {**FACES, "num_blocks": 0}),
    ("inpaint", "digits-parametric", {"width": 16}),
    ("vae", "general", {"size": 20, "num_images": 40, "width": 4, "latent_size": 6}),
]


@pytest.fixture(params=NETWORKS, ids=lambda case: f"{case[0]}-{case[1]}")
def task(request):
    name, preset, options = request.param
    run = RunConfig.of(name, preset, **options)
    if run.options.data == "mnist":
        return find_task(name).restore(run.options, {"data": "digits", "size": [1, 28, 28]})
    return run.make_task()


def drawn(task, count, seed):
    return task.model.example(count, torch.Generator().manual_seed(seed))


def test_onnxruntime_gives_what_pytorch_gives(task, tmp_path, capfd):
    task.model.generator.train()(drawn(task, 8, seed=2))  # batch norm has something to tell
    report = write_onnx(task.model.generator, drawn(task, 4, seed=0), tmp_path / "generator.onnx")
    assert task.model.generator.training
    assert report.largest_difference < 1e-4
    assert not any(capfd.readouterr())
    session = onnxruntime.InferenceSession(tmp_path / "generator.onnx")
    for count in (1, 5):
        observed = drawn(task, count, seed=1)
        expected = infer_all(task.model.generator, observed)
        names = [report.outputs[factor].name for factor in expected]
        found = session.run(names, {report.inputs[name].name: values.numpy() for name, values in observed.items()})
        for (factor, theirs), ours in zip(expected.items(), found, strict=True):
            assert report.outputs[factor].shape == ("batch", *theirs.shape[1:])
            assert report.outputs[factor].dtype == "float32"
            torch.testing.assert_close(torch.from_numpy(ours), theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())


class Odd(nn.Module):
    """A generator that gives what the formula gives, or that as ``z``."""

    def __init__(self, formula):
        super().__init__()
        self.formula, self.unused = formula, nn.Parameter(torch.ones(3))

    def forward(self, observed):
        inferred = self.formula(observed["x"])
        return inferred if isinstance(inferred, dict) else {"z": inferred}


@pytest.mark.parametrize("opset", [18, 23])
def test_a_file_has_the_opset_that_is_asked_for(opset, tmp_path):
    generator = Odd(lambda x: {"z": torch.nn.functional.gelu(x).softmax(-1), "mean": x.mean((1, 2))})
    observed = {"x": torch.randn(4, 3, 2)}
    assert write_onnx(generator, observed, tmp_path / "generator.onnx", opset=opset).opset == opset
    model = onnx.load(tmp_path / "generator.onnx")
    assert {known.domain: known.version for known in model.opset_import} == {"": opset}
    found = onnxruntime.InferenceSession(tmp_path / "generator.onnx").run(None, {"x": observed["x"].numpy()})
    for ours, theirs in zip(generator(observed).values(), found, strict=True):
        torch.testing.assert_close(torch.from_numpy(theirs), ours)


@pytest.mark.parametrize("opset", [17, 24])
def test_an_opset_that_cannot_be_written_is_refused(opset, tmp_path):
    with pytest.raises(UserError) as refused:
        write_onnx(Odd(lambda x: x), {"x": torch.ones(4, 2)}, tmp_path / "generator.onnx", opset=opset)
    assert refused.value.value == f"opset = {opset}"
    assert not list(tmp_path.iterdir())


def test_a_factor_that_has_the_name_of_something_observed_is_called_otherwise(tmp_path):
    generator = Odd(lambda x: {"x": 2 * x, "handed_on": x, "mean": x.mean((1, 2))})
    report = write_onnx(generator, {"x": torch.ones(4, 3, 2)}, tmp_path / "generator.onnx")
    assert {name: port.name for name, port in report.inputs.items()} == {"x": "x"}
    assert report.inputs["x"].shape == ("batch", 3, 2)
    assert {factor: port.name for factor, port in report.outputs.items()} == {
        "x": "inferred_x",
        "handed_on": "handed_on",
        "mean": "mean",
    }
    assert report.outputs["mean"].shape == ("batch",)
    assert b"forward" not in (tmp_path / "generator.onnx").read_bytes()  # no stack traces, with someone's paths


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        (lambda x: x if x.mean() > 0 else -x, r"Odd: cannot be exported to ONNX \([^;]*data-dependent"),
        (lambda x: x.reshape(4, 3) + 1, r"Odd: cannot be exported to ONNX \([^;]*specialized it to be a constant"),
        (lambda x: torch.linalg.svdvals(x), r"Odd: cannot be exported to ONNX \([^;]*svd"),
        (lambda x: x + torch.rand_like(x), r"output z: of 4 samples differs by .* between PyTorch and onnxruntime"),
        (lambda x: x / 0 * 0, "output z: of 4 samples differs by nan"),
    ],
    ids=["branch", "one size of batch", "operation", "randomness", "not a number"],
)
def test_what_would_not_be_the_same_is_refused_in_one_message(formula, reason, tmp_path, capfd):
    file = tmp_path / "generator.onnx"
    with pytest.raises(UserError, match=reason):
        write_onnx(Odd(formula), {"x": torch.ones(4, 3)}, file)
    assert not file.exists()
    assert not any(capfd.readouterr())


def test_a_package_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"onnxruntime: is needed to write ONNX.*pip install onnxruntime"):
        write_onnx(Odd(lambda x: x), {"x": torch.ones(4, 3)}, tmp_path / "generator.onnx")


def test_examples_are_such_as_are_observed(task):
    example = drawn(task, 5, seed=0)
    assert all(values.equal(drawn(task, 5, seed=0)[name]) for name, values in example.items())
    assert infer_all(task.model.generator, example)
    if hasattr(task, "test"):
        for name, values in example.items():
            like = task.data.test["observed"][name]
            assert (values.shape, values.dtype) == ((5, *like.shape[1:]), like.dtype)
    if "image" in example:
        assert example["image"].min() >= 0
        assert 0.9 < example["image"].max() <= 1
    if "mask" in example:
        assert set(example["mask"].unique().tolist()) == {0.0, 1.0}
        assert not (example["image"] * (1 - example["mask"])).any()
    if "keypoints_px" in example:
        places = example["keypoints_px"]
        assert (places.min() > 0) & (places.max() < task.config.image_size)
        assert (places.amax(1) - places.amin(1)).max() > 0.2 * task.config.image_size
