"""The store goes, refuses, or holds a damaged checkpoint."""

import time
from collections.abc import Callable

from ray_jobs.runs.checkpoints import STATE_FILE, folder_name
from tests.faults import damage
from tests.faults.drills.drill import MOMENT, drill
from tests.faults.proxy import Break, Refuse, Request, Trap, is_removal, lacks_md5, refuse, throttle
from tests.faults.run import CHECKPOINT_EVERY, STEPS, Run


@drill("store-away")
def store_away(run: Run) -> None:
    """The store is away for 6 s while the run trains."""
    _away(run, 6.0)


@drill("store-away-30")
def store_away_30(run: Run) -> None:
    """The store is away for 30 s, beyond the last step."""
    _away(run, 30.0)


def _away(run: Run, seconds: float) -> None:
    run.start()
    run.wait_for_checkpoint(MOMENT)
    run.fault(run.proxy.cut)
    time.sleep(seconds)
    run.proxy.restore()
    run.finish()


@drill("store-gone")
def store_gone(run: Run) -> None:
    """The store is away until the command has ended; the command that it names sends what waits."""
    run.start("--store-patience", "20")
    run.wait_for_checkpoint(MOMENT)
    run.fault(run.proxy.cut)
    status = run.wait()
    run.expect(status == 1, f"ended with status {status} though results had not arrived")
    run.expect(max(run.committed()) < STEPS, "the store was not away")
    run.proxy.restore()
    run.start_process(run.command_to_send_the_rest())
    run.finish()


@drill("worker-while-away")
def worker_while_away(run: Run) -> None:
    """The store goes away for 60 s, and the first worker is killed in that time."""
    run.start()
    run.wait_for_checkpoint(MOMENT)
    first = run.workers()[0]
    run.proxy.cut()
    run.fault(first.kill)
    time.sleep(60.0)
    run.proxy.restore()
    run.finish()


@drill("throttled")
def throttled(run: Run) -> None:
    """From its first attempt on, the store refuses a fifth of all requests (503 SlowDown, broken connections)."""

    def begin(request: Request) -> None:
        run.fault(lambda: setattr(run.proxy, "rule", throttle(0.2)))

    run.proxy.rule = Trap(r"PUT .*/attempts/001\.json", Break(first=begin))
    run.start()
    run.finish()


@drill("delete-refused")
def delete_refused(run: Run) -> None:
    """The store refuses every removal (403 AccessDenied)."""
    run.proxy.rule = refuse(is_removal, Refuse(403, "AccessDenied"))
    run.start()
    run.finish()
    run.expect(len(run.committed()) == STEPS // CHECKPOINT_EVERY, "something was removed")


@drill("bulk-delete-refused")
def bulk_delete_refused(run: Run) -> None:
    """The store refuses removals of several objects at once that bring no Content-MD5, as older ones do."""
    run.proxy.rule = refuse(lacks_md5, Refuse(400, "MissingContentMD5"))
    run.start()
    run.finish()
    run.expect(len(run.committed()) < STEPS // CHECKPOINT_EVERY, "nothing was removed")


@drill("before-export")
def before_export(run: Run) -> None:
    """kill -9 of all when the last checkpoint has arrived and the export has not; the same command elsewhere."""
    trap = Trap(r"PUT .*/export/", Break())
    run.proxy.rule = trap
    run.start()
    run.wait_until(trap.sprung.is_set, "export")
    run.expect(run.newest() == STEPS, "the export was sent before the last checkpoint")
    run.new_machine()
    run.start()
    run.finish()


@drill("gone-at-the-end")
def gone_at_the_end(run: Run) -> None:
    """The store goes when the last checkpoint is on its way, and stays away; the same command completes the run."""
    trap = Trap(rf"PUT .*/{folder_name(STEPS)}/", Break(first=lambda request: run.proxy.cut()))
    run.proxy.rule = trap
    run.start("--store-patience", "5")
    status = run.wait()
    run.expect(trap.sprung.is_set(), "the moment never came")
    run.expect(status == 1, f"ended with status {status} though results had not arrived")
    run.expect(run.newest() < STEPS, "the store was not away")
    run.proxy.restore()
    run.start()
    run.finish()


@drill("truncated", most_lost=2 * CHECKPOINT_EVERY)
def truncated(run: Run) -> None:
    """The newest checkpoint's weights are cut short; the same command on another machine."""
    _damage(run, "generator.safetensors", damage.truncate)


@drill("flipped", most_lost=2 * CHECKPOINT_EVERY)
def flipped(run: Run) -> None:
    """One bit of the newest checkpoint's weights is wrong; the same command on another machine."""
    _damage(run, "generator.safetensors", damage.flip)


@drill("flipped-state", most_lost=2 * CHECKPOINT_EVERY)
def flipped_state(run: Run) -> None:
    """One bit of a number in the newest checkpoint's state.json is wrong; the same command on another machine."""
    _damage(run, STATE_FILE, damage.flip_number)


def _damage(run: Run, file: str, change: Callable[[bytes], bytes]) -> None:
    run.start()
    run.wait_for_checkpoint(MOMENT)
    run.fault(run.new_machine)
    newest = max(run.committed())
    run.damaged.append(newest)
    path = f"checkpoints/{folder_name(newest)}/{file}"
    run.store.write(path, change(run.store.read(path)))
    run.start()
    run.finish()
    run.expect("skipped a damaged checkpoint" in run.said(), "the damage was not noticed")
