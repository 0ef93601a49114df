"""The kinds of faults. A kind is a function of a run that trains, and of dice for its details.

It returns what it saw, in a few words, when the fault is over; the command may have ended by then. Whether anything
that was committed has been lost is judged afterwards, in ``soaking.py``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.soak.soaked import SoakedRun

Go = Callable[[SoakedRun, Random], str]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of fault, and which runs it can come to."""

    summary: str
    go: Go
    alone: bool = True
    on_ray: bool = True


KINDS: dict[str, Kind] = {}


def kind(name: str, summary: str, **where: bool) -> Callable[[Go], Go]:
    """Register a function as a kind."""

    def register(go: Go) -> Go:
        KINDS[name] = Kind(summary=summary, go=go, **where)
        return go

    return register
