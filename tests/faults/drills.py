"""The drills: each starts a run, injects one fault at a precise moment, and sees the run to its end.

A drill is a function of a :class:`~tests.faults.run.Run`. What holds for all of them (no step lost beyond the newest
checkpoint, no gap in metrics, the undisturbed run's weights) is judged afterwards, in ``judge.py``.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ray_jobs.checkpoints import STATE_FILE, folder_name
from tests.faults import damage, machines
from tests.faults.proxy import Break, Request, Trap, throttle
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
