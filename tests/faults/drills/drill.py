"""A drill, the table of all of them, and the one that the others are compared with."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.run import CHECKPOINT_EVERY, Run

MOMENT = 60  # faults come when the checkpoint of this step is there, or on its way


class Skipped(Exception):
    """Why a drill cannot be done here."""


@dataclass(frozen=True, kw_only=True)
class Drill:
    """A drill and what may differ from the undisturbed run after it."""

    name: str
    summary: str
    go: Callable[[Run], None]
    most_lost: int = CHECKPOINT_EVERY
    same_weights: bool = True
    same_metrics: bool = True


DRILLS: dict[str, Drill] = {}


def drill(name: str, **allowed):
    def register(go: Callable[[Run], None]) -> Callable[[Run], None]:
        DRILLS[name] = Drill(name=name, summary=(go.__doc__ or "").strip(), go=go, **allowed)
        return go

    return register


@drill("undisturbed")
def undisturbed(run: Run) -> None:
    """No fault: what the others are compared with."""
    run.start()
    run.finish()
