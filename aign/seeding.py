"""PyTorch's process-wide random generator, which first weights are drawn from, used by one thread at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def generator_alone() -> Iterator[None]:
    """The process-wide generator for this thread alone; afterwards it is as it was.

    Several runs may be threads of one process: without it, one would draw its weights from another one's seed.
    """
    with _ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):
        yield
