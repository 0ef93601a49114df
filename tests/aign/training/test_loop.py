"""The loop: stages, the clock, what is recorded, and runs that are continued."""

from dataclasses import replace
from itertools import chain
from types import SimpleNamespace

import pytest
import torch

from aign.errors import UserError
from aign.tasks.stages import Stage
from aign.training.loop import Progress, draw_batch, infer_all, stage_lengths, train
from aign.training.notice import Notice

BELOW, ABOVE = 0.0, 1000.0  # all losses


class Diary:
    """A recorder that keeps everything."""

    def __init__(self):
        self.logged, self.evaluations, self.checkpoints = [], [], []

    def log(self, progress, stage, values):
        learnt = {
            name: value for name, value in values.items() if name not in ("samples_per_second", "data_wait_share")
        }
        self.logged.append((progress.step, stage.name, learnt))

    def evaluation(self, progress, evaluation, draw_picture):
        self.evaluations.append((progress.step, evaluation.metrics["error"]))

    def checkpoint(self, progress, engines):
        self.checkpoints.append((progress, engines.generator.state(), engines.discriminators.state()))


@pytest.fixture
def run(toy):
    def run(progress=None, states=None, look=lambda: Notice.NONE, **options):
        """A whole run of the toy task, or the rest of one: its diary and where it ended."""
        task, config, engines = toy(**options)
        if states:
            engines.generator.load(states[0])
            engines.discriminators.load(states[1])
        diary = Diary()
        return diary, train(task, engines, config, diary, progress, look)

    return run


@pytest.fixture
def clock(monkeypatch):
    """The time in seconds that the loop reads, in a list of one."""
    now = [0.0]
    monkeypatch.setattr("aign.training.interval.time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


def notices(*found):
    """A ``look`` that finds one notice after the other, then the last again."""
    left = list(found)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize("steps", [1, 2, 10, 997])
@pytest.mark.parametrize("shares", [(1.0,), (0.3, 0.7), (1, 1, 1), (0.001, 0.333, 0.666)])
def test_stage_lengths_add_up_and_follow_shares(steps, shares):
    lengths = stage_lengths([Stage(name="s", share=share, weights={}) for share in shares], steps)
    assert sum(lengths) == steps
    for length, share in zip(lengths, shares, strict=True):
        assert abs(length - steps * share / sum(shares)) <= 1


def test_a_run_goes_through_its_stages_and_records_on_the_way(run):
    diary, end = run(steps=12, log_every=5, evaluate_every=4, checkpoint_every=6)
    assert (end.step, end.clock, end.stage, end.generator_updates) == (12, 12, 2, 12)
    # every fifth step, and at the end of a stage (3, 12) and before a checkpoint (6)
    expected = [(3, "supervised"), (5, "adversarial"), (6, "adversarial"), (10, "adversarial"), (12, "adversarial")]
    assert [line[:2] for line in diary.logged] == expected
    assert [step for step, _ in diary.evaluations] == [4, 8, 12]
    assert [progress.step for progress, *_ in diary.checkpoints] == [6, 12]


@pytest.mark.parametrize("shares", [(0.01, 0.99), (0.99, 0.01)])
def test_a_stage_too_short_for_one_step_is_left_out(shares, toy):
    task, config, engines = toy(steps=3)
    task.objective.config = tuple(
        replace(stage, share=share) for stage, share in zip(task.objective.config, shares, strict=True)
    )
    diary = Diary()
    end = train(task, engines, config, diary)
    assert (end.step, end.stage) == (3, 2)
    assert [progress.step for progress, *_ in diary.checkpoints] == [3]


def test_the_end_is_evaluated_and_kept_whenever_it_comes(run):
    diary, _ = run(steps=5, evaluate_every=100, checkpoint_every=100)
    assert [step for step, _ in diary.evaluations] == [5]
    assert diary.checkpoints[0][0] == Progress(step=5, clock=5, stage=2, stage_clock=0, generator_updates=5)


def test_training_makes_the_inference_better(run):
    diary, _ = run(steps=80, evaluate_every=8, batch_size=16, generator_lr=0.05)
    assert diary.evaluations[-1][1] < 0.5 * diary.evaluations[0][1]


def test_two_generator_updates_a_step_advance_the_clock_by_two(run):
    _, end = run(steps=16, update_rule="paper", theta_d=ABOVE, theta_g=BELOW)
    # 4 steps of one update supervised, then 12 ticks are 6 steps of two
    assert (end.step, end.clock, end.generator_updates) == (10, 16, 16)


def test_no_generator_update_advances_the_clock_by_one(run):
    _, end = run(steps=16, update_rule="paper", theta_d=BELOW)
    assert (end.step, end.clock, end.generator_updates) == (16, 16, 4)


def test_learning_rates_follow_the_clock(toy):
    task, config, engines = toy(steps=8, lr_schedule="linear", update_rule="paper", theta_d=ABOVE, theta_g=BELOW)
    factors = []
    engines.generator.set_lr_factor = factors.append
    train(task, engines, config, Diary())
    assert factors == [1, 7 / 8, 6 / 8, 4 / 8, 2 / 8]


def test_a_continued_run_equals_one_that_was_never_stopped(run):
    # theta_g lies among the losses, so that the rule takes different branches; a checkpoint lies in either stage
    options = {"steps": 30, "log_every": 4, "evaluate_every": 7, "checkpoint_every": 6, "update_rule": "paper"}
    options |= {"theta_d": 0.8, "theta_g": 0.57, "lr_schedule": "cosine", "r1": 0.1}
    whole, end = run(**options)
    assert end.step < end.clock
    assert [progress.stage for progress, *_ in whole.checkpoints][:2] == [0, 1]
    for progress, *states in whole.checkpoints[:-1]:
        rest, rest_end = run(progress, states, seed=0, **options)
        assert rest_end == end
        assert rest.logged == [line for line in whole.logged if line[0] > progress.step]
        assert rest.evaluations == [line for line in whole.evaluations if line[0] > progress.step]
        for ours, theirs in zip(rest.checkpoints[-1][1:], whole.checkpoints[-1][1:], strict=True):
            torch.testing.assert_close(ours.tensors, theirs.tensors, atol=0, rtol=0)
            assert ours.meta == theirs.meta


def test_notices_are_heeded_between_lines_of_metrics(run, monkeypatch):
    monkeypatch.setattr("aign.training.interval.SECONDS_BETWEEN_LOOKS", 0)  # at every step
    look = notices(Notice.NONE, Notice.NONE, Notice.NONE, Notice.SAVE, Notice.SAVE, Notice.STOP)
    diary, end = run(look=look, steps=40, log_every=1000, checkpoint_every=1000, evaluate_every=1000)
    assert [progress.step for progress, *_ in diary.checkpoints] == [4, 6]
    assert (end.step, end.unlogged) == (6, {})


def test_notices_change_no_line_of_metrics_not_even_of_a_run_that_goes_on_from_there(run, monkeypatch):
    options = {"steps": 24, "log_every": 5, "evaluate_every": 10, "checkpoint_every": 12}
    whole, end = run(**options)
    monkeypatch.setattr("aign.training.interval.SECONDS_BETWEEN_LOOKS", 0)
    # the second stage begins after step 6; 14 lies between the lines of 12 and 15
    noticed, noticed_end = run(look=notices(*[Notice.NONE] * 13, Notice.SAVE), **options)
    assert noticed.logged == whole.logged
    assert noticed_end == end
    saved, *states = noticed.checkpoints[1]
    assert (saved.step, saved.unlogged_steps) == (14, 2)
    rest, rest_end = run(saved, states, **options)
    assert rest.logged == [line for line in whole.logged if line[0] > 14]
    assert rest_end == end


def test_workers_meet_every_few_seconds_not_at_every_step(toy, clock, monkeypatch):
    task, config, engines = toy(steps=40, log_every=1000, checkpoint_every=1000, evaluate_every=1000)
    task.objective.config = task.objective.config[1:]  # a stage ends with a line, where they meet too
    measured = task.objective.reconstruction
    steps, looks = [], []

    def half_a_second(*args):
        clock[0] += 0.5
        steps.append(1)
        return measured(*args)

    def look():
        looks.append(len(steps))
        return Notice.NONE

    monkeypatch.setattr(task.objective, "reconstruction", half_a_second)
    train(task, engines, config, Diary(), None, look)
    assert looks == [1, 7, 13, 19, 25, 31, 37, 40]


def test_the_speed_is_that_of_steps_without_evaluations_and_checkpoints(toy, clock, monkeypatch):
    task, config, engines = toy(steps=12, log_every=5, evaluate_every=3, checkpoint_every=4, batch_size=8)
    task.objective.config = task.objective.config[1:]

    def takes(seconds, work):
        def slow(*args):
            clock[0] += seconds
            return work(*args)

        return slow

    monkeypatch.setattr(task.objective, "reconstruction", takes(2.0, task.objective.reconstruction))
    monkeypatch.setattr(task.evaluator, "measure", takes(100.0, task.evaluator.measure))
    diary, speeds = Diary(), []
    log = diary.log
    diary.log = lambda progress, stage, values: (log(progress, stage, values), speeds.append(values))
    diary.checkpoint = takes(100.0, diary.checkpoint)
    train(task, engines, config, diary)
    assert len(speeds) == 5
    assert {values["samples_per_second"] for values in speeds} == {8 / 2.0}


def test_a_finished_run_has_nothing_left_to_do(run):
    diary, end = run(steps=4)
    again, still = run(end, diary.checkpoints[-1][1:], steps=4)
    assert still == end
    assert [again.logged, again.evaluations, again.checkpoints] == [[], [], []]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_term_that_is_not_finite_stops_the_run_and_is_named_with_its_step(value, toy, monkeypatch):
    task, config, engines = toy(steps=20, log_every=10, checkpoint_every=8)
    calls = []

    def reconstruction(rendered, observed, done):
        calls.append(rendered)
        loss = (rendered["x"] - observed["x"]).square().mean()
        return {"reconstruction": loss * value if len(calls) == 2 else loss}

    monkeypatch.setattr(task.objective, "reconstruction", reconstruction)
    diary = Diary()
    with pytest.raises(UserError, match=r"loss term reconstruction: is (nan|inf) at step 7"):  # 5 steps are supervised
        train(task, engines, config, diary)
    assert diary.checkpoints == []  # a checkpoint of broken weights would be worse than none


def test_logged_values_are_means_over_the_interval(toy, monkeypatch):
    task, config, engines = toy(steps=8, log_every=2)
    values = iter(range(100))
    monkeypatch.setattr(
        task.objective, "supervision", lambda inferred, truth: {"supervision": inferred["z"].sum() * 0 + next(values)}
    )
    diary = Diary()
    train(task, engines, config, diary)
    assert [values["supervision"] for _, _, values in diary.logged] == [0.5, 2.5, 4.5, 6.5]


def test_the_test_set_is_inferred_in_evaluation_mode_and_the_mode_is_put_back(toy, monkeypatch):
    task, _, _ = toy()
    monkeypatch.setattr("aign.training.loop.EVALUATION_BATCH", 2)  # five samples: a rest of one
    modes = []
    task.model.generator.register_forward_hook(lambda module, *_: modes.append(module.training))
    inferred = infer_all(task.model.generator, task.data.test["observed"])
    assert modes == [False] * 3
    assert task.model.generator.training
    torch.testing.assert_close(inferred, {"z": task.model.generator(task.data.test["observed"])["z"].detach()})


def test_workers_draw_parts_of_one_batch(toy, shares, monkeypatch):
    task, config, _ = toy(batch_size=8)
    stage = replace(task.objective.stages[1], labelled=("pairs", "unlabelled"))
    task.objective.config = (stage,)
    monkeypatch.setattr(task.data.streams["unlabelled"], "labelled", True)

    def drawn(share):
        monkeypatch.setattr("aign.training.loop.rank", lambda: share.rank)
        monkeypatch.setattr("aign.training.loop.world_size", lambda: share.world_size)
        batch = draw_batch(task, stage, config, 3)
        samples = batch.labelled["truth"]["z"], batch.unlabelled["observed"]["x"], batch.remembered["z"]["z"]
        return [sorted(rows.tolist()) for rows in samples]

    whole = drawn(replace(shares[0], rank=0, world_size=1))
    parts = [drawn(share) for share in shares]
    assert [sorted(chain(*kind)) for kind in zip(*parts, strict=True)] == whole
    assert [len(rows) for rows in whole] == [8, 8, 8]
