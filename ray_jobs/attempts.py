"""Attempts at a run are numbered in its folder, and only the newest may change what the others go on from.

An older one that still lives, on another machine or cluster, finds out before it touches a checkpoint, and ends.
"""

import json
from dataclasses import dataclass

from aign.errors import UserError
from ray_jobs.storage import Store

ATTEMPTS = "attempts"


class AlreadyRuns(UserError):
    """This cluster or machine is at work on the run: two at a time would overwrite each other's results."""


class Superseded(UserError):
    """A newer attempt goes on with this run."""


@dataclass(frozen=True)
class Attempt:
    """One process group's try at a run. Attempt 0 is nobody's: it is never superseded."""

    number: int = 0
    began: float = 0.0
    """Seconds since 1970; tells two attempts apart that began at once and took the same number."""

    @classmethod
    def after(cls, run: Store, began: float) -> "Attempt":
        """The attempt that follows those in a run's folder."""
        return cls(_newest(run) + 1, began)

    @property
    def path(self) -> str:
        """Its file in the run's folder, which says who takes part."""
        return f"{ATTEMPTS}/{self.number:03d}.json"

    def check_newest(self, run: Store) -> None:
        """Raise Superseded if a newer attempt has begun."""
        newest = _newest(run) if self.number else 0
        if newest > self.number or (newest == self.number > 0 and self._began_twice(run)):
            reason = f"attempt {newest} goes on with this run, so attempt {self.number} ends"
            raise Superseded(run.uri, reason, "follow the newer one")

    def _began_twice(self, run: Store) -> bool:
        """Whether another attempt has taken this one's number later; an older one's file may arrive late."""
        try:
            return json.loads(run.read(self.path)).get("began", 0) > self.began
        except FileNotFoundError:
            return False


def _newest(run: Store) -> int:
    return max((int(name.removesuffix(".json")) for name in run.names(ATTEMPTS)), default=0)
