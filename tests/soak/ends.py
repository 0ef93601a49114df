"""Kinds of faults in which processes end, or should: signals, kills, a second command, streams, a full disk."""

import os
import signal
import time
from random import Random

from ray_jobs.runs.checkpoints import STATE_FILE
from tests.faults import machines
from tests.faults.proxy import Break, Trap
from tests.faults.run import CHECKPOINT_EVERY, Unexpected
from tests.soak.kinds import kind
from tests.soak.soaked import Over, SoakedRun

SECONDS_OF_A_START = 8.0


# --- asked to go -----------------------------------------------------------------------------------------------------


@kind("sigterm", "SIGTERM to the command")
def sigterm(run: SoakedRun, dice: Random) -> str:
    return _asked_to_go(run, signal.SIGTERM)


@kind("sigint", "SIGINT to the command, as Ctrl-C")
def sigint(run: SoakedRun, dice: Random) -> str:
    return _asked_to_go(run, signal.SIGINT)


@kind("sighup", "SIGHUP to the command, as of a terminal that closes")
def sighup(run: SoakedRun, dice: Random) -> str:
    return _asked_to_go(run, signal.SIGHUP)


def _asked_to_go(run: SoakedRun, signum: signal.Signals) -> str:
    """Stop a run, which saves first."""
    before = run.newest()
    run.signal_command(signum)
    run.ended(128 + signum)
    if run.newest() < before:
        raise Unexpected(f"had saved step {before}, then {run.newest()}")
    return f"status {128 + signum}, saved step {run.newest()}"


@kind("sigterm-in-start", "SIGTERM while the command starts")
def sigterm_in_start(run: SoakedRun, dice: Random) -> str:
    seconds = _started_anew(run, dice)
    before = run.newest()
    run.signal_command(signal.SIGTERM)
    try:
        run.ended(128 + signal.SIGTERM, -signal.SIGTERM)  # the latter before Python listens to it
    except Over:
        if run.newest() > before + 2 * CHECKPOINT_EVERY:
            raise Unexpected(f"SIGTERM after {seconds:.1f} s was lost") from None
        raise
    return f"after {seconds:.1f} s"


# --- killed ----------------------------------------------------------------------------------------------------------


@kind("killed-in-start", "SIGKILL while the command starts")
def killed_in_start(run: SoakedRun, dice: Random) -> str:
    seconds = _started_anew(run, dice)
    run.end()
    return f"after {seconds:.1f} s"


def _started_anew(run: SoakedRun, dice: Random) -> float:
    """Kill the command and start it again; the seconds that have passed since."""
    run.end()
    seconds = dice.uniform(0, SECONDS_OF_A_START)
    run.begin()
    time.sleep(seconds)
    return seconds


@kind("killed", "SIGKILL of the command and all that it started")
def killed(run: SoakedRun, dice: Random) -> str:
    run.end()
    return "started again"


@kind("machine-lost", "SIGKILL of all, and the local disk is lost")
def machine_lost(run: SoakedRun, dice: Random) -> str:
    run.new_machine()
    return "on an empty disk"


@kind("worker-killed", "SIGKILL of one of the workers", alone=False)
def worker_killed(run: SoakedRun, dice: Random) -> str:
    number, _ = run.begun()
    rank = dice.randrange(run.shape.workers)
    run.workers()[rank].kill()
    run.wait_for_attempt_after(number)
    return f"worker {rank}"


@kind("killed-in-upload", "SIGKILL of the process that sends a checkpoint, in the middle of its weights")
def killed_in_upload(run: SoakedRun, dice: Random) -> str:
    return _sender_killed(run, r"\w+\.safetensors", dice.random())


@kind("killed-before-commit", "SIGKILL of the process that sends a checkpoint, before its state.json")
def killed_before_commit(run: SoakedRun, dice: Random) -> str:
    return _sender_killed(run, STATE_FILE, share=0.0)


def _sender_killed(run: SoakedRun, file: str, share: float) -> str:
    number, _ = run.begun()
    trap = Trap(
        rf"PUT .*/checkpoints/step_\d+/{file}",
        Break(share, lambda request: run.sender_of(request.client_port).kill()),
    )
    run.proxy.rule = trap
    run.wait_until(trap.sprung.is_set, "checkpoint on its way")
    if run.shape.workers:
        run.wait_for_attempt_after(number)
    else:
        run.ended(-signal.SIGKILL)
    return f"when {share:.0%} of a file was sent"


@kind("killed-while-away", "the store goes, the command is killed and started again, the store comes back")
def killed_while_away(run: SoakedRun, dice: Random) -> str:
    number, _ = run.begun()
    seconds = dice.uniform(1, SECONDS_OF_A_START)
    run.proxy.cut()
    run.end()
    run.begin()
    time.sleep(seconds)
    run.proxy.restore()
    run.wait_for_attempt_after(number)
    return f"away for {seconds:.1f} s of the start"


@kind("paused", "all processes are stopped for a while, as by a laptop's lid")
def paused(run: SoakedRun, dice: Random) -> str:
    before, seconds = run.newest(), dice.uniform(1, 5)
    with run.suspended():
        time.sleep(seconds)
    run.wait_for_more(before)
    return f"for {seconds:.1f} s"


# --- a second command, streams, the disk -----------------------------------------------------------------------------


@kind("other-options", "a second command with another seed, on another host: it is refused")
def other_options(run: SoakedRun, dice: Random) -> str:
    with run.elsewhere() as other:
        other.start("--seed", "1", workers=str(run.shape.workers))
        if (status := other.wait()) != 2:
            raise Unexpected(f"the second command ended with status {status}: {other.last_line()}")
    return "refused"


@kind("taken-over", "the same command on another host: the older one ends, the newer one goes on")
def taken_over(run: SoakedRun, dice: Random) -> str:
    number, _ = run.begun()
    with run.elsewhere() as other:
        other.start(workers=str(run.shape.workers))
        run.ended(1, 2)
        other.wait_until(lambda: run.begun()[0] > number, "a new attempt")
        other.signal_command(signal.SIGTERM)
        if (status := other.wait()) == 0:
            raise Over
        if status != 128 + signal.SIGTERM:
            raise Unexpected(f"the newer command ended with status {status}: {other.last_line()}")
    return f"the older one said: {run.last_line()[:60]}"


@kind("closed-output", "what reads the command's output goes")
def closed_output(run: SoakedRun, dice: Random) -> str:
    run.signal_command(signal.SIGTERM)
    run.ended(128 + signal.SIGTERM)
    reader, writer = os.pipe()
    try:
        run.go_on(stdout=writer, stderr=writer)
    finally:
        os.close(writer)
        os.close(reader)
    run.wait_for_more(run.newest())
    return "went on"


@kind("disk-full", "the disk of temporary files and of the spool fills up")
def disk_full(run: SoakedRun, dice: Random) -> str:
    machines.fill(run.ballast)
    run.ended(1, 2)
    said = run.last_line()
    if run.is_heard and not said.startswith("error: "):
        raise Unexpected(f"did not end in one clear line: {said}")
    run.ballast.unlink()
    return said[:60] if run.is_heard else "nobody listened"
