"""The batch of step t is a pure function of (seed, t), and workers share it."""

import pytest
import torch

from aign.data.streams import WorkerSlice, concatenate, draw, random_source, rows
from aign.errors import UserError

ALONE = WorkerSlice()


class Numbers:
    """A stream of random numbers that counts what is asked of it."""

    def plan(self, size, rng):
        return {"x": torch.from_numpy(rng.random((size, 3)))}

    def load(self, plan):
        self.loaded = rows(plan)
        return {"observed": {"x": plan["x"]}}


def batch(*, name="a", seed=0, step=0, worker=ALONE):
    return draw(name, Numbers(), 8, seed=seed, step=step, worker=worker)["observed"]["x"]


def test_same_seed_and_step_give_the_same_batch():
    assert torch.equal(batch(seed=3, step=7), batch(seed=3, step=7))


def test_another_seed_step_or_name_gives_another_batch():
    batches = [batch(), batch(seed=1), batch(step=1), batch(name="b"), batch(seed=1, step=1)]
    assert len({tuple(b.flatten().tolist()) for b in batches}) == len(batches)


def test_the_numbers_do_not_change_between_processes_and_versions():
    # A resumed run needs the batches of the process that began it.
    assert random_source(0, "pairs", 5).integers(10**9) == 50189020


def test_workers_slices_together_are_the_batch_of_one_worker(shares):
    assert torch.equal(torch.cat([batch(step=2, worker=share) for share in shares]), batch(step=2))


def test_a_worker_loads_only_its_slice():
    stream = Numbers()
    draw("a", stream, 8, seed=0, step=0, worker=WorkerSlice(1, 4, portions=8))
    assert stream.loaded == 2


def test_concatenate_keeps_groups_and_order():
    ones, twos = ({"observed": {"x": torch.full((2, 1), v)}, "truth": {"y": torch.full((2,), v)}} for v in (1.0, 2.0))
    both = concatenate([ones, twos])
    assert both["observed"]["x"].flatten().tolist() == [1, 1, 2, 2]
    assert both["truth"]["y"].tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize(
    "more", [{"observed": {"intrinsics": torch.ones(2, 3)}}, {"truth": {"y": torch.ones(2)}}], ids=["name", "group"]
)
@pytest.mark.parametrize("first", [True, False])
def test_what_only_some_samples_have_is_an_error(more, first):
    plain = {"observed": {"x": torch.ones(2, 1)}}
    richer = {group: plain.get(group, {}) | more.get(group, {}) for group in plain | more}
    with pytest.raises(UserError):
        concatenate([richer, plain] if first else [plain, richer])
