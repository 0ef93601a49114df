"""Options of every run: learning rates, the update rule, what is refused."""

import math

import pytest

from aign.errors import UserError
from aign.training.config import TrainingConfig


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", {0: 1, 50: 1, 99: 1}),
        ("linear", {0: 1, 25: 0.75, 50: 0.5, 99: 0.01, 100: 0, 120: 0}),
        ("cosine", {0: 1, 25: 0.5 + math.sqrt(0.125), 50: 0.5, 100: 0, 120: 0}),
    ],
)
def test_learning_rates_fall_over_the_run_and_not_below_zero(schedule, factors):
    config = TrainingConfig(steps=100, lr_schedule=schedule)
    for step, factor in factors.items():
        assert config.lr_factor(step) == pytest.approx(factor, abs=1e-12)


def test_learning_rates_rise_first_from_more_than_zero():
    config = TrainingConfig(steps=100, lr_schedule="linear", warmup_steps=4)
    assert [config.lr_factor(step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert config.lr_factor(52) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("discriminator_loss", "generator_loss", "updates"),
    [
        (0.70, 0.00, 0),  # the discriminator is weak: it learns alone
        (0.70, 9.00, 0),  # ... whatever the generator's loss
        (0.60, 0.80, 2),  # it is strong and the generator is behind
        (0.60, 0.70, 1),
        (0.65, 0.75, 1),  # thresholds themselves are not above
    ],
)
def test_the_papers_rule(discriminator_loss, generator_loss, updates):
    config = TrainingConfig(update_rule="paper", theta_d=0.65, theta_g=0.75)
    assert config.generator_updates(0, discriminator_loss, generator_loss) == updates


def test_ratio_updates_the_generator_every_third_step():
    config = TrainingConfig(update_rule="ratio", ratio=3)
    assert [config.generator_updates(step, 9.0, 9.0) for step in range(7)] == [0, 0, 1, 0, 0, 1, 0]


def test_a_lazy_penalty_weighs_as_much_over_the_run():
    config = TrainingConfig(r1=0.5, r1_every=4)
    assert [config.penalty_weight(step) for step in range(9)] == [2.0, 0, 0, 0, 2.0, 0, 0, 0, 2.0]
    assert {TrainingConfig(r1=0.5).penalty_weight(step) for step in range(9)} == {0.5}


@pytest.mark.parametrize(
    "name", ["steps", "batch_size", "ratio", "r1_every", "log_every", "evaluate_every", "checkpoint_every"]
)
def test_numbers_below_one_are_refused_by_name(name):
    with pytest.raises(UserError, match=f"{name} = 0: "):
        TrainingConfig(**{name: 0})


@pytest.mark.parametrize("option", ["ratio", "r1_every"])
def test_an_option_without_effect_is_refused(option):
    with pytest.raises(UserError) as error:
        TrainingConfig(**{option: 2})
    assert error.value.value == f"{option} = 2"
