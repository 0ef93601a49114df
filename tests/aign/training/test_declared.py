"""What a task declares is refused where it cannot be followed, before the first step."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from aign.errors import UserError
from aign.tasks.parts import GeneratorPart
from aign.training.declared import check_declared
from aign.training.loop import evaluate
from aign.training.run_config import RunConfig


@pytest.fixture(scope="module")
def task():
    return RunConfig.of("pose", width=16, num_blocks=1).make_task()


def refused(task, stages):
    with pytest.raises(UserError) as error:
        check_declared(task, stages)
    return error.value


def changed(task, **changes):
    """The task's stages, the last of them changed."""
    *first, last = task.objective.stages
    return [*first, replace(last, **changes)]


def test_a_weight_of_a_term_that_there_is_not(task):
    weights = dict(task.objective.stages[-1].weights)
    weights["reprojektion"] = weights.pop("reprojection")
    error = refused(task, changed(task, weights=weights))
    assert "reprojektion" in error.reason
    assert error.remedy == "did you mean reprojection?"


def test_shares_that_do_not_add_up(task):
    assert "0.5" in refused(task, [replace(stage, share=stage.share / 2) for stage in task.objective.stages]).reason
    assert refused(task, [*task.objective.stages, replace(task.objective.stages[-1], share=0.0)])


@pytest.mark.parametrize("kind", ["labelled", "unlabelled"])
def test_a_stream_that_there_is_not(kind, task):
    assert "capturd" in refused(task, changed(task, **{kind: ("capturd",)})).reason


def test_a_discriminator_that_there_is_not(task):
    assert "jointz" in refused(task, changed(task, weights={"adversarial/jointz": 1.0})).reason


def test_a_stage_that_reads_nothing(task):
    assert refused(task, changed(task, labelled=(), unlabelled=()))
    assert refused(task, changed(task, labelled=("synthetic",), unlabelled=()))  # but has discriminators


def test_a_renderer_that_learns(task, monkeypatch):
    monkeypatch.setattr(task.model, "renderer", nn.Sequential(task.model.renderer, nn.Linear(2, 2)))
    assert refused(task, task.objective.stages)


@pytest.fixture
def with_parts(task, monkeypatch):
    def with_parts(**parts):
        declared = {name.replace("_", "."): part for name, part in parts.items()}
        monkeypatch.setattr(type(task.model), "generator_parts", declared)
        return task

    return with_parts


@pytest.mark.parametrize(
    ("parts", "value", "remedy"),
    [
        ({"haed": GeneratorPart()}, "part haed of the generator", "did you mean head?"),
        ({"head": GeneratorPart(), "head_linear": GeneratorPart()}, "part head.linear of the generator", None),
        ({"head": GeneratorPart(lr_factor=0.0)}, "part head of the generator", None),
    ],
)
def test_parts_that_are_not_there_or_overlap_or_never_learn(parts, value, remedy, task, with_parts):
    error = refused(with_parts(**parts), task.objective.stages)
    assert error.value == value
    assert remedy in (None, error.remedy)


@pytest.mark.parametrize(
    ("trains", "remedy"), [(("haed",), "did you mean head?"), (("stem",), None), (("blocks", "stem"), None), ((), None)]
)
def test_stages_that_train_what_cannot_learn(trains, remedy, task, with_parts):
    with_parts(head=GeneratorPart(), stem=GeneratorPart(frozen=True), blocks=GeneratorPart())
    check_declared(task, changed(task, trains=("head", "blocks")))
    error = refused(task, changed(task, trains=trains))
    assert error.value == "stage self-supervised"
    assert remedy in (None, error.remedy)


def test_shapes_that_do_not_fit(task, monkeypatch):
    monkeypatch.setattr(task.model, "generator", nn.Linear(3, 3))
    with pytest.raises((RuntimeError, TypeError)):
        check_declared(task, task.objective.stages)


def test_an_objective_that_is_not_measured(task, monkeypatch):
    monkeypatch.setattr(task.evaluator, "selection_metric", "mpjpe", raising=False)
    with pytest.raises(UserError, match="selection_metric = mpjpe"):
        evaluate(task, task.model.generator)


def test_looking_leaves_no_trace(task):
    """Neither in networks nor in random numbers."""
    before = {name: value.clone() for name, value in task.model.generator.state_dict().items()}
    random, training = torch.get_rng_state(), [module.training for module in task.model.generator.modules()]
    check_declared(task, task.objective.stages)
    assert all(torch.equal(value, before[name]) for name, value in task.model.generator.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in task.model.generator.modules()] == training
