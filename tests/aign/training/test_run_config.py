"""A run's config: presets with changes, to JSON and back, and the mistakes that are named."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from aign.errors import UserError
from aign.tasks import TASKS
from aign.tasks.pose import PoseConfig
from aign.training.run_config import RunConfig

EVERY_PRESET = pytest.mark.parametrize(("task", "preset"), [(t, p) for t, kind in TASKS.items() for p in kind.presets])


def test_changes_go_over_presets_and_presets_over_defaults():
    config = RunConfig.of("pose", "aign-paper", width=32, steps=7)
    assert (config.options.width, config.training.steps) == (32, 7)
    assert (config.options.generator, config.training.update_rule) == ("heatmap", "paper")
    assert config.options.num_components == PoseConfig().num_components


def test_the_default_preset_is_the_tasks_first():
    assert RunConfig.of("pose").preset == next(iter(TASKS["pose"].presets))


@EVERY_PRESET
def test_json_and_back(task, preset):
    config = RunConfig.of(task, preset, seed=5)
    assert RunConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        (("pse",), {}, "'pse'.*did you mean pose?"),
        (("pose", "aing"), {}, "'aing'.*did you mean aign?"),
        (("pose",), {"widht": 3}, "widht: not an option of pose; did you mean width?"),
        (("pose",), {"r1_every": 16, "adversarial_weight": 0.0}, "r1_every = 16: "),
    ],
)
def test_unknown_names_are_refused_with_the_nearest_known(arguments, changes, message):
    with pytest.raises(UserError, match=message):
        RunConfig.of(*arguments, **changes)


def test_a_config_of_another_version_is_refused():
    stored = RunConfig.of("pose").to_json()
    stored["options"]["gone"] = 1
    with pytest.raises(UserError, match="gone"):
        RunConfig.from_json(stored)


def test_a_batch_that_streams_cannot_share_is_refused_with_one_they_can():
    RunConfig.of("pose", batch_size=12).check_batch(3)  # two streams of pairs
    with pytest.raises(UserError, match=r"batch_size = 13.* 2 equal parts.*use 12$"):
        RunConfig.of("pose", batch_size=13).check_batch(1)


def test_a_batch_may_divide_unevenly_among_workers_but_not_leave_one_without():
    config = RunConfig.of("pose", batch_size=10)
    config.check_batch(4)
    with pytest.raises(UserError, match=r"batch_size = 10.* 6 workers.*use 12 or more"):
        config.check_batch(6)
    with pytest.raises(UserError, match=r"2 accumulated parts.*use 12 or more"):
        RunConfig.of("pose", batch_size=10, accumulate=2).check_batch(3)


def test_runs_that_are_made_at_once_begin_with_the_weights_of_their_seeds():
    def weights(seed):
        generator = RunConfig.of("pose", width=16, seed=seed).make_task().model.generator
        return [weight.tolist() for weight in generator.parameters()]

    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(weights, range(4)))
    assert at_once == [weights(seed) for seed in range(4)]


def test_making_a_task_leaves_the_process_wide_generator_as_it_was():
    before = torch.get_rng_state()
    RunConfig.of("pose", width=16, seed=3).make_task()
    assert torch.equal(torch.get_rng_state(), before)
