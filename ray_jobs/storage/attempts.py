"""Attempts at a run are numbered, and only the newest one may change what the others go on from.

An older attempt that still lives, on another machine or cluster, finds out before it touches a checkpoint, and ends.
Two that begin at the same moment are told apart without any help of the store but this: a listing shows what was
written before. An attempt takes its number so:

1.  It claims the next free number, with a file of a name of its own: RUN/claims/NUMBER-ID, which holds its *recipe*,
    what the run's numbers depend on.
2.  It lists claims and attempts again. If somebody else has that number by now, it withdraws the claim and tries
    another one after a random time; if somebody has a higher number, it withdraws the claim and ends. Of two attempts
    that keep their numbers, the higher one therefore claimed when the claim of the lower one was there to be seen.
3.  It compares its recipe with what earlier attempts claimed, and with what the run's folder says. If they differ, it
    withdraws the claim and is refused; nobody else has noticed it.
4.  It writes RUN/attempts/NUMBER.json, which tells people who takes part and how it ended. From here on the attempts
    before it are superseded. Only then does it look for a checkpoint to go on from.

When the folder itself says what the recipe is, the claim is no longer needed and is removed.
"""

import contextlib
import json
import os
import random
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aign.errors import Explained, UserError
from aign.storage.errors import NotRemoved, StoreAway
from aign.storage.store import Store

ATTEMPTS, CLAIMS = "attempts", "claims"
_CLAIM = re.compile(r"(\d{3,})-[0-9a-f]{32}")
_RECORD = re.compile(r"(\d{3,})\.json")
_TRIES = 20
_LONGEST_PAUSE_S = 2.0
_LONGEST_REASON = 500
_SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSWORD|ACCESS_KEY")
_SHORTEST_SECRET = 8

Recipe = Mapping[str, Any]
"""What the numbers of a run, or the results of a sweep, depend on; JSON."""


class AlreadyRuns(UserError):
    """This cluster or machine is at work on the run: two at a time would overwrite each other's results."""


class Superseded(UserError):
    """A newer attempt goes on with this run."""


@dataclass(frozen=True)
class Attempt:
    """One process group's try at a run, or at a sweep. Attempt 0 is nobody's: it is never superseded."""

    number: int = 0
    claim: str = ""
    """The file in the run's folder that holds the number until the attempt has told of itself."""

    @classmethod
    def take(
        cls,
        run: Store,
        recipe: Recipe,
        check: Callable[[Sequence[Recipe]], None],
        record: Mapping[str, Any],
    ) -> "Attempt":
        """The next attempt at the run, or the sweep, in a folder; the ones before it are superseded.

        ``check`` compares the recipe with those of earlier claims, which it is given, and with what the folder says;
        whatever it raises is raised here, and nothing has changed. ``record`` is what RUN/attempts/NUMBER.json says
        first. Raises Superseded if a newer attempt has begun meanwhile.
        """
        attempt = _claimed(run, json.dumps(recipe).encode())
        try:
            check(_earlier_recipes(run, attempt))
            run.write(attempt.path, json.dumps(record).encode())
        except BaseException:
            attempt.release(run)
            raise
        return attempt

    @property
    def path(self) -> str:
        """Its file in the run's folder, which says who takes part and how it ended."""
        return record_path(self.number)

    def release(self, run: Store) -> None:
        """Remove the claim: the folder says what the recipe is, or this attempt is none."""
        with contextlib.suppress(UserError, StoreAway):  # a claim that stays hinders nobody
            try:
                run.remove(self.claim)
            except NotRemoved:
                run.write(self.claim, b"")  # but its recipe would

    def check_newest(self, run: Store) -> None:
        """Raise Superseded if a newer attempt has begun."""
        newest = max(attempt_numbers(run), default=0) if self.number else 0
        if newest > self.number:
            reason = f"attempt {newest} goes on with this run, so attempt {self.number} ends"
            raise Superseded(run.uri, reason, "follow the newer one")


def record_path(number: int) -> str:
    """The file that tells of an attempt, in the run's folder."""
    return f"{ATTEMPTS}/{number:03d}.json"


def attempt_numbers(run: Store) -> list[int]:
    """The attempts that have told of themselves, in order; other files beside theirs are passed over."""
    return sorted(int(match[1]) for name in run.names(ATTEMPTS) if (match := _RECORD.fullmatch(name)))


def record_failure(run: Store, error: BaseException) -> None:
    """Write into the newest attempt's file why it ended, if it could not do so itself. Does nothing without a store."""
    with contextlib.suppress(UserError, StoreAway, FileNotFoundError, ValueError, IndexError):
        path = record_path(attempt_numbers(run)[-1])
        record = json.loads(run.read(path))
        if record.get("status") == "running":
            ended = {"status": "failed", "reason": reason_of(error), "ended": time.time()}
            run.write(path, json.dumps(record | ended).encode())


def reason_of(error: BaseException) -> str:
    """What went wrong, in one line without the values of secrets in the environment."""
    text = " ".join((str(error) if isinstance(error, Explained) else f"{type(error).__name__}: {error}").split())
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_SECRET and _SECRET_NAME.search(name):
            text = text.replace(value, "***")
    return text[:_LONGEST_REASON]


def _claimed(run: Store, recipe: bytes) -> Attempt:
    """An attempt that alone has its number. Raises Superseded if there is a higher one by then."""
    for tries in range(_TRIES):
        number = max(_numbers_but(run, ""), default=0) + 1
        mine = Attempt(number, f"{CLAIMS}/{number:03d}-{uuid.uuid4().hex}")
        run.write(mine.claim, recipe)
        highest = max(_numbers_but(run, mine.claim), default=0)
        if highest < number:
            return mine
        mine.release(run)
        if highest > number:
            raise Superseded(run.uri, f"attempt {highest} has begun a moment ago", "follow that one")
        time.sleep(random.uniform(0, min(_LONGEST_PAUSE_S, 0.1 * 2**tries)))
    raise AlreadyRuns(run.uri, "others begin it again and again", "end them, or use another --name")


def _numbers_but(run: Store, claim: str) -> list[int]:
    """Numbers that are taken, but for one claim. Claims first: one that goes away has left its attempt's file."""
    claimed = [number for number, path in _claims(run) if path != claim]
    return claimed + attempt_numbers(run)


def _claims(run: Store) -> list[tuple[int, str]]:
    """Numbers and files."""
    return [(int(match[1]), f"{CLAIMS}/{name}") for name in run.names(CLAIMS) if (match := _CLAIM.fullmatch(name))]


def _earlier_recipes(run: Store, attempt: Attempt) -> list[Recipe]:
    found = []
    for number, path in _claims(run):
        if number < attempt.number:
            with contextlib.suppress(FileNotFoundError, ValueError):  # withdrawn meanwhile, or damaged
                found.append(json.loads(run.read(path)))
    return [recipe for recipe in found if isinstance(recipe, dict)]
