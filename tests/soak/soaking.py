"""Faults come to runs one after the other; what was committed before each is compared with what is left."""

import contextlib
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tests.faults import analysis, machines
from tests.faults.judge import Final, final
from tests.faults.proxy import Proxy
from tests.faults.run import Unexpected
from tests.soak import ends, stores  # noqa: F401 (they fill the table of kinds)
from tests.soak.journal import End, Entry, Journal, Outcome
from tests.soak.kinds import KINDS
from tests.soak.plan import CHECKPOINT_EVERY, Fault, Plan, Shape
from tests.soak.soaked import Over, SoakedRun


def soak(plan: Plan, journal: Journal, storage: str, folder: Path) -> None:
    """Do what the journal does not hold yet, and say each in one line."""
    over = {end.run for end in journal.ends}
    references: dict[Shape, Final] = {}
    for number in itertools.count(1):
        name, shape = f"run-{number:02d}", plan.shape(number)
        if name in over:
            continue
        if len(journal.entries) >= plan.count and all(entry.run != name for entry in journal.entries):
            return
        if shape not in references:
            references[shape] = undisturbed(shape, storage, folder)
        with soaked_run(name, shape, storage, folder) as run:
            with contextlib.suppress(Over):
                while fault := plan.next(name, shape, journal.entries):
                    tell(journal, perform(fault, run))
            if all(entry.run != name for entry in journal.entries):
                raise Unexpected(f"{name} was over before its first fault")
            tell(journal, end(run, references[shape]))


def tell(journal: Journal, done: Entry | End) -> None:
    journal.add(done)
    print(done, flush=True)


def undisturbed(shape: Shape, storage: str, folder: Path) -> Final:
    """What a run of this shape leaves that no fault comes to. It is made once."""
    with soaked_run(f"undisturbed-{shape.workers}-{shape.steps}", shape, storage, folder) as run:
        left = final(run, shape.steps)
        if left is None:
            run.begin()
            run.finish()
            left = final(run, shape.steps)
        assert left is not None
        return left


@contextlib.contextmanager
def soaked_run(name: str, shape: Shape, storage: str, folder: Path) -> Iterator[SoakedRun]:
    """A run with a line to the store and a small disk of its own; all that it starts ends with the block."""
    target = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    proxy = Proxy(target.port or 80, target.hostname or "127.0.0.1")
    run = SoakedRun(name, storage, proxy, folder / name, shape)
    with machines.small_disk(run.temporary) if machines.can_mount() else contextlib.nullcontext():
        try:
            yield run
        finally:
            run.end()
            proxy.cut()


def perform(fault: Fault, run: SoakedRun) -> Entry:
    """One fault, until the run trains again. Raises Over if there is no run any more for it to come to."""
    started = time.monotonic()
    outcome: Outcome = "held"
    text, lost, has_come = "", 0, False
    run.mark()
    try:
        if not run.is_alive():
            run.go_on()
        run.wait_for_checkpoint(run.newest() + CHECKPOINT_EVERY * fault.dice.randint(1, 2))
        number, committed, has_come = run.begun()[0], run.whole(), True
        seen = KINDS[fault.kind].go(run, fault.dice)
        run.heal()
        if not run.is_alive():
            committed = run.whole()
            run.go_on()
        lost, went_on = compared(run, number, committed)
        outcome, text = "lost" if lost else "held", f"{seen}; {went_on}"
        if not run.shape.workers and "Traceback" in run.heard():  # Ray shows those of workers that are killed
            outcome, text = "failed", f"{text}; showed a traceback"
    except Over:
        if not has_come:
            raise
        text = "then the run came to its end"
    except Unexpected as problem:
        outcome, text = "failed", str(problem)
        run.end()
    finally:
        run.heal()
    return Entry(
        number=fault.number,
        kind=fault.kind,
        run=run.name,
        workers=run.shape.workers,
        outcome=outcome,
        lost=lost,
        seconds=round(time.monotonic() - started, 1),
        text=text,
    )


def compared(run: SoakedRun, number: int, committed: Sequence[int]) -> tuple[int, str]:
    """The steps that were committed when attempt ``number`` was the newest, and had to be done again; in words, too."""
    newest = max((step for step in committed if step not in run.damaged), default=0)
    later, start = run.begun()
    if later == number:
        return 0, f"trains on from {newest}"
    return max(0, newest - start), f"attempt {later} went on from {start} of {newest}"


def end(run: SoakedRun, reference: Final) -> End:
    """See a run to its end and compare it with one that was not disturbed."""
    problems, weights = [], "nothing"
    try:
        if not run.is_alive():
            run.begin()
        run.finish()
    except Unexpected as problem:
        problems.append(str(problem))
        run.end()
    if left := final(run, run.shape.steps):
        distance = left.distance(reference)
        weights = "same bits" if distance == 0 else f"weights {distance:.1e} off"
        if distance:
            problems.append("other weights than undisturbed")
        if missing := analysis.missing_steps(left.lines, reference.lines):
            problems.append(f"no metrics of {len(missing)} steps from {missing[0]} on")
        if differing := analysis.differing_steps(left.lines, reference.lines):
            problems.append(f"other metrics than undisturbed at steps {differing[:5]}")
    else:
        problems.append("is not complete in the store")
    return End(run=run.name, weights=weights, problems=problems)
