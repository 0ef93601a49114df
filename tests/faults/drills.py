"""The drills: each starts a run, injects one fault at a precise moment, and sees the run to its end.

A drill is a function of a :class:`~tests.faults.run.Run`. What holds for all of them (no step lost beyond the newest
checkpoint, no gap in metrics, the undisturbed run's weights) is judged afterwards, in ``judge.py``.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from ray_jobs.checkpoints import STATE_FILE, checkpoint_steps, folder_name
from tests.faults import damage, machines
from tests.faults.proxy import Break, Refuse, Request, Trap, throttle
from tests.faults.run import CHECKPOINT_EVERY, STEPS, Run

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


# --- a worker goes ---------------------------------------------------------------------------------------------------


@drill("worker-1")
def worker_1(run: Run) -> None:
    """kill -9 of the second worker in the middle of a step."""
    _kill_worker(run, 1)


@drill("worker-0")
def worker_0(run: Run) -> None:
    """kill -9 of the first worker, which writes the run, in the middle of a step."""
    _kill_worker(run, 0)


def _kill_worker(run: Run, rank: int) -> None:
    run.start()
    run.wait_for_checkpoint(MOMENT)
    run.fault(run.workers()[rank].kill)
    run.finish()


@drill("upload")
def upload(run: Run) -> None:
    """kill -9 of the first worker when half of a checkpoint's weights are sent."""
    _kill_sender(run, r"generator\.safetensors", share=0.5)


@drill("commit")
def commit(run: Run) -> None:
    """kill -9 of the first worker when a checkpoint's weights have arrived and state.json has not."""
    _kill_sender(run, STATE_FILE, share=0.0)


def _kill_sender(run: Run, file: str, share: float) -> None:
    def kill(request: Request) -> None:
        run.fault(run.sender_of(request.client_port).kill)

    trap = Trap(rf"PUT .*/{folder_name(MOMENT)}/{file}", Break(share=share, first=kill))
    run.proxy.rule = trap
    run.start()
    run.finish()
    run.expect(trap.sprung.is_set(), "the moment never came")


@drill("hang")
def hang(run: Run) -> None:
    """A worker stops answering without ending (SIGSTOP)."""
    run.start("--collective-timeout-s", "20")
    run.wait_for_checkpoint(MOMENT)
    run.fault(run.workers()[1].suspend)
    run.finish()


# --- a machine goes --------------------------------------------------------------------------------------------------


@drill("driver")
def driver(run: Run) -> None:
    """kill -9 of the command; what Ray leaves behind is ended, and the same command goes on."""
    run.start()
    run.wait_for_checkpoint(MOMENT)
    run.fault(run.kill_command)
    started = time.monotonic()
    while run.workers_alive() and time.monotonic() - started < 30:
        time.sleep(0.1)
    run.expect(not run.workers_alive(), "workers outlive the command by 30 s")
    run.notes.append(f"workers ended by themselves after {time.monotonic() - started:.1f} s")
    run.end()
    run.start()
    run.finish()


@drill("node-replaced")
def node_replaced(run: Run) -> None:
    """A node with one of the two workers goes, with its disk; another joins."""
    with machines.cluster(run) as cluster:
        run.start(address=cluster.address)
        run.wait_for_checkpoint(MOMENT)
        run.fault(cluster.remove_node)
        cluster.add_node()
        run.finish()


@drill("node-gone", same_weights=False)
def node_gone(run: Run) -> None:
    """A node with one of the workers goes, with its disk; the run goes on with fewer workers."""
    with machines.cluster(run) as cluster:
        run.start(workers="1:2", address=cluster.address)
        run.wait_for_checkpoint(MOMENT)
        run.fault(cluster.remove_node)
        run.finish()


@drill("disk-full")
def disk_full(run: Run) -> None:
    """The disk of the workers' temporary files fills up; after making room the same command goes on."""
    if not machines.can_mount():
        raise Skipped("a small disk can be mounted by root only")
    ballast = run.temporary / "ballast"
    with machines.small_disk(run.temporary):
        run.start()
        run.wait_for_checkpoint(MOMENT)
        run.fault(lambda: machines.fill(ballast))
        status = run.wait()
        run.notes.append(f"status {status}: {run.last_line()}")
        run.expect(status != 0, "ended well on a full disk")
        run.expect(run.last_line().startswith("error: "), f"did not end in one clear line: {run.last_line()}")
        run.expect("Traceback" not in run.said(), "showed a traceback")
        kept = [step for step in run.committed_before if run.read(step)]
        run.expect(bool(kept) and max(kept) == max(run.committed_before), "the newest checkpoint was lost")
        ballast.unlink()
        run.start()
        run.finish()
        run.end()  # nothing may hold the disk when it goes


# --- the store goes --------------------------------------------------------------------------------------------------


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
    run.start()
    run.wait_for_checkpoint(MOMENT)
    run.fault(run.proxy.cut)
    status = run.wait()
    run.notes.append(f"train ended with status {status}")
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
    _refusing_removals(run, is_removal, Refuse(403, "AccessDenied"))
    run.expect(len(run.committed()) == STEPS // CHECKPOINT_EVERY, "something was removed")


@drill("bulk-delete-refused")
def bulk_delete_refused(run: Run) -> None:
    """The store refuses removals of several objects at once that bring no Content-MD5, as older ones do."""

    def lacks_md5(request: Request) -> bool:
        return request.method == "POST" and is_removal(request) and "content-md5" not in request.headers

    _refusing_removals(run, lacks_md5, Refuse(400, "MissingContentMD5"))
    run.expect(len(run.committed()) < STEPS // CHECKPOINT_EVERY, "nothing was removed")


def _refusing_removals(run: Run, refused: Callable[[Request], bool], answer: Refuse) -> None:
    run.proxy.rule = lambda request: answer if refused(request) else "forward"
    run.start()
    run.finish()


def is_removal(request: Request) -> bool:
    return request.method == "DELETE" or (request.method == "POST" and "?delete" in request.target)


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


# --- two commands for one run ----------------------------------------------------------------------------------------


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
    with run.elsewhere() as other:
        other.start()
        status = run.wait()
        run.expect(status != 0, "the older attempt ended as if it had finished")
        run.notes.append(f"the older one: status {status}: {run.last_line()}")
        other.finish()


# --- a person goes ---------------------------------------------------------------------------------------------------


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
    run.wait_for_checkpoint(MOMENT)
    os.close(reader)
    run.finish()


# --- a sweep ---------------------------------------------------------------------------------------------------------


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


# --- a checkpoint is damaged -----------------------------------------------------------------------------------------


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
