"""A run's lines read back: as one history, whatever happened to it."""

from ray_jobs.reports.history import History, read_lines


def test_what_an_attempt_does_again_counts_as_it_does_it(logged, evaluated):
    lines = {
        1: [logged(10, 4.0), logged(20, 3.0), evaluated(20, 90.0), logged(30, 9.0), evaluated(30, 70.0)],
        2: [logged(30, 2.0), logged(40, 1.0), evaluated(40, 80.0)],
    }
    history = History.of(lines, {1: 0, 2: 20})
    assert history.terms() == {"reprojection": ([10, 20, 30, 40], [4.0, 3.0, 2.0, 1.0])}
    assert history.metrics()["torso_aligned_mm"] == ([20, 40], [90.0, 80.0])
    assert history.evaluation["metrics"]["mpjpe_mm"] == 160.0
    assert history.step == 40


def test_lines_that_a_new_attempt_has_not_come_to_yet_are_no_part_of_the_run(logged):
    history = History.of({1: [logged(10, 4.0), logged(20, 3.0)]}, {1: 0, 2: 10})
    assert history.step == 10


def test_updates_per_step_are_those_of_each_interval(logged):
    lines = [logged(10, 1.0, updates=20), logged(20, 1.0, updates=20), logged(40, 1.0, updates=30)]
    assert History.of({1: lines}, {1: 0}).updates_per_step() == ([10, 20, 40], [2.0, 0.0, 0.5])


def test_a_term_has_only_the_steps_at_which_it_was_on(logged):
    lines = [logged(10, 1.0, stage="supervised"), {**logged(20, 0.5), "adversarial/joints": 0.7}]
    history = History.of({1: lines}, {1: 0})
    assert history.terms()["adversarial/joints"] == ([20], [0.7])
    assert history.stages() == [("supervised", 10), ("self-supervised", 20)]


def test_a_run_without_lines_has_a_history_too(tmp_path, write_run):
    run = write_run(tmp_path / "run")
    history = History.of(read_lines(run), {})
    assert (history.step, history.evaluation, history.terms(), history.updates_per_step()) == (0, None, {}, ([], []))
