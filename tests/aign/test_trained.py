"""Exports that are damaged, foreign or something else: each is refused in one line that says what to do."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import aign
from aign.errors import UserError
from aign.trained import Trained
from aign.training.loop import Progress
from aign.training.run_config import RunConfig

WEIGHTS, CONFIG = "generator.safetensors", "config.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The files of an export that can be loaded."""
    folder = tmp_path_factory.mktemp("export")
    run = RunConfig.of("vae", size=16, num_images=40, width=4, latent_size=6)
    Trained(run=run, task=run.make_task(), progress=Progress(step=3, clock=3)).save(folder)
    assert aign.load(folder).progress.step == 3
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def export(whole, tmp_path):
    """An export of one's own, to damage."""
    for name, content in whole.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def refusal(folder):
    with pytest.raises(UserError) as refused:
        aign.load(folder)
    assert len(str(refused.value).splitlines()) == 1
    assert refused.value.remedy
    return refused.value


@pytest.mark.parametrize("size", [0, 7, 200, -1])
def test_weights_that_were_cut_short(size, export):
    (export / WEIGHTS).write_bytes((export / WEIGHTS).read_bytes()[:size])
    assert refusal(export).value == export / WEIGHTS


def test_weights_of_another_format(export):
    torch.save({"generator/weight": torch.ones(2)}, export / WEIGHTS)
    assert refusal(export).value == export / WEIGHTS


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_file_that_is_missing_or_a_folder(name, export):
    (export / name).unlink()
    assert name in refusal(export).reason
    (export / name).mkdir()
    assert name in refusal(export).reason


def changed_weights(change):
    def damage(export):
        tensors = load_file(export / WEIGHTS)
        change(tensors, next(name for name, values in tensors.items() if values.ndim == 2))
        save_file(tensors, export / WEIGHTS)

    return damage


def changed_config(change):
    def damage(export):
        config = json.loads((export / CONFIG).read_text())
        change(config)
        (export / CONFIG).write_text(json.dumps(config))

    return damage


DAMAGE = {
    "another shape": changed_weights(lambda tensors, name: tensors.update({name: tensors[name][:-1].clone()})),
    "none of that name": changed_weights(lambda tensors, name: tensors.pop(name)),
    "one too many": changed_weights(lambda tensors, name: tensors.update({f"{name}_2": torch.ones(1)})),
    "not a number": changed_weights(lambda tensors, name: tensors[name].fill_(float("nan"))),
    "options of another size": changed_config(lambda config: config["run"]["options"].update(latent_size=7)),
    "an unknown task": changed_config(lambda config: config["run"].update(task="novel")),
    "an unknown option": changed_config(lambda config: config["run"]["options"].update(colour="red")),
    "an option that cannot be": changed_config(lambda config: config["run"]["options"].update(width=-4)),
    "metadata of another task": changed_config(lambda config: config.update(metadata={"skeleton": 1})),
    "no metadata": changed_config(lambda config: config.pop("metadata")),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_parts_that_do_not_belong_together(damage, export):
    damage(export)
    assert refusal(export)


FOREIGN = {
    "empty": b"",
    "no JSON": b"{'run': 1}",
    "no UTF-8": b"\xff\xfe{\x00}\x00",
    "nested too deep": b"[" * 100_000,
    "of another program": b'{"architectures": ["BertModel"], "hidden_size": 768}',
    "a list": b"[1, 2]",
    "a number for the run": b'{"run": 1, "metadata": {}, "progress": {"step": 1}}',
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_config_that_is_none(content, export):
    (export / CONFIG).write_bytes(content)
    assert str(refusal(export).value).startswith(str(export))


def test_a_run_is_told_where_its_export_is(export, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    (run / CONFIG).write_text("{}")
    assert str(run / "export") not in refusal(run).remedy
    export.rename(run / "export")
    assert str(run / "export") in refusal(run).remedy


def test_what_is_not_there_or_a_file_is_no_export(tmp_path):
    assert refusal(tmp_path / "nothing").value == tmp_path / "nothing"
    (tmp_path / "file").write_text("")
    assert refusal(tmp_path / "file").value == tmp_path / "file"
