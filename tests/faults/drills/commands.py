"""Two commands for one run, a person who goes, and a sweep."""

import json
import os
import signal
import time

from ray_jobs.runs.checkpoints import checkpoint_steps
from tests.faults.drills.drill import MOMENT, drill
from tests.faults.proxy import Refuse
from tests.faults.run import STEPS, Run


@drill("other-options")
def other_options(run: Run) -> None:
    """A second command with another seed, on another host, while the run trains: it is refused."""
    run.start()
    run.wait_for_checkpoint(MOMENT)
    with run.elsewhere() as other:
        other.start("--seed", "1")
        status = other.wait()
        run.expect(status == 2, f"the second command ended with status {status}: {other.last_line()}")
    run.finish()


@drill("taken-over")
def taken_over(run: Run) -> None:
    """The same command on another host while the run trains: the newer attempt goes on, the older one ends."""
    run.start()
    run.wait_for_checkpoint(MOMENT)
    older = run.workers()
    for worker in older:  # or it might finish before the other has begun
        worker.suspend()
    with run.elsewhere() as other:
        other.start()
        other.wait_until(lambda: len(run.store.names("attempts")) > 1, "second attempt")
        for worker in older:
            worker.resume()
        status = run.wait()
        run.expect(status != 0, "the older attempt ended as if it had finished")
        run.notes.append(f"the older one: status {status}: {run.last_line()}")
        other.finish()


@drill("hangup")
def hangup(run: Run) -> None:
    """The terminal is closed (SIGHUP): the run saves first; the same command goes on."""
    _asked_to_go(run, signal.SIGHUP)


@drill("sigterm-log-1500", same_metrics=False)
def sigterm_log_1500(run: Run) -> None:
    """SIGTERM of a run that logs every 1500 steps: it saves within seconds; the same command goes on."""
    _asked_to_go(run, signal.SIGTERM, "--log-every", "1500")


def _asked_to_go(run: Run, signum: signal.Signals, *options: str) -> None:
    run.start(*options)
    run.wait_for_checkpoint(MOMENT)
    before, started = run.newest(), time.monotonic()
    run.signal_command(signum)
    status = run.wait()
    run.notes.append(f"saved step {run.newest()} and ended after {time.monotonic() - started:.1f} s")
    run.expect(status == 128 + signum, f"ended with status {status}")
    run.expect(before <= run.newest() < STEPS, "did not save, or was not stopped")
    run.start(*options)
    run.finish()


@drill("closed-pipe")
def closed_pipe(run: Run) -> None:
    """What reads the command's output goes away: the run goes on to its end."""
    reader, writer = os.pipe()
    run.start(stdout=writer, stderr=writer)
    os.close(writer)
    try:
        run.wait_for_checkpoint(MOMENT)
    finally:
        run.heard(os.read(reader, 1 << 16))
        os.close(reader)
    run.finish()


@drill("sweep-expired-keys")
def sweep_expired_keys(run: Run) -> None:
    """The store's keys expire while a sweep trains: it ends, and no trial is failed; the same command goes on."""
    begun = run.store / "trials/000/0"
    run.start_sweep()
    run.wait_until(lambda: bool(checkpoint_steps(begun)), "first checkpoint of the sweep")
    run.proxy.rule = lambda request: Refuse(403, "ExpiredToken")
    status = run.wait()
    run.expect(status not in (0, 2), f"ended with status {status} though its keys had expired: {run.last_line()}")
    run.proxy.rule = lambda request: "forward"
    run.start_sweep()
    run.finish()
    statuses = [json.loads(run.store.read(f"trials/{trial}/trial.json"))["status"] for trial in ("000", "001")]
    run.expect(statuses == ["finished", "finished"], f"trials ended as {statuses}")
    run.store = begun  # its options are those of the undisturbed run
