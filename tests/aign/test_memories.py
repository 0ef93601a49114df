"""Memories: how often each is remembered, and how many are needed."""

import pytest
import torch

from aign.data.streams import ALONE, draw
from aign.errors import UserError
from aign.memories import MIN_SAMPLES, Memory, balanced


def numbered(count, **options):
    """A memory whose samples are their own number."""
    return Memory({"number": torch.arange(count)}, bias="tests", **options)


def remembered(memory, size=20_000, worker=ALONE):
    return draw("memory", memory, size, seed=0, step=0, worker=worker)["factors"]


@pytest.mark.parametrize("weights", [None, torch.arange(20.0), torch.tensor([1000.0, 0] * 10)])
def test_frequency_follows_weights(weights):
    count = remembered(numbered(20, weights=weights))["number"].bincount(minlength=20).double()
    share = torch.ones(20) if weights is None else weights
    torch.testing.assert_close(count / count.sum(), (share / share.sum()).double(), atol=0.01, rtol=0)
    assert (count[share == 0] == 0).all()


def test_balanced_groups_are_remembered_equally_often():
    groups = torch.tensor([0] * 90 + [2] * 9 + [1])
    weights = balanced(groups)
    torch.testing.assert_close(torch.bincount(groups, weights), torch.ones(3).double())
    count = groups[remembered(numbered(100, weights=weights))["number"]].bincount()
    torch.testing.assert_close(count / count.sum(), torch.full((3,), 1 / 3), atol=0.02, rtol=0)


def test_too_few_memories_are_refused_by_their_bias():
    with pytest.raises(UserError, match=r"tests: selects 15 memories, at least 16 are needed; widen the bias"):
        numbered(MIN_SAMPLES - 1)
    assert len(numbered(MIN_SAMPLES)) == MIN_SAMPLES


def test_dress_gives_each_memory_random_numbers_of_its_own():
    memory = numbered(20, augment=lambda rows, random: rows | {"random": random}, num_random=3)
    factors = remembered(memory, 500)
    assert factors["random"].shape == (500, 3)
    assert len(factors["random"].unique()) > 1400
    assert 0 <= factors["random"].min() < factors["random"].max() < 1


def test_workers_remember_parts_of_one_batch(shares):
    memory = numbered(50)
    parts = [remembered(memory, 16, share)["number"] for share in shares]
    assert torch.equal(torch.cat(parts), remembered(memory, 16)["number"])
