"""Kinds of faults of the store: away, slow, refusing, half of an upload; and damage to what it holds."""

import signal
import time
from collections.abc import Callable
from random import Random

from ray_jobs.runs.checkpoints import STATE_FILE, folder_name
from tests.faults import damage
from tests.faults.proxy import SLOW_DOWN, Answer, Break, Refuse, Request, Rule, Trap, is_removal, refuse, throttle
from tests.faults.run import Unexpected
from tests.soak.kinds import kind
from tests.soak.soaked import SoakedRun

WEIGHTS = "generator.safetensors"
LONGEST_S = 3.0
"""Of what a run trains through: in more time it would come to its end."""


@kind("store-away", "the store does not answer for a while")
def store_away(run: SoakedRun, dice: Random) -> str:
    before, seconds = run.newest(), dice.uniform(0.5, LONGEST_S)
    run.proxy.cut()
    time.sleep(seconds)
    run.proxy.restore()
    run.wait_for_more(before)
    return f"for {seconds:.1f} s"


@kind("store-slow", "every request takes long for a while")
def store_slow(run: SoakedRun, dice: Random) -> str:
    pause = dice.uniform(0.1, 1)

    def slowly(request: Request) -> Answer:
        time.sleep(pause)
        return "forward"

    return _for_a_while(run, dice, slowly)


@kind("status-500", "every request is answered with 500 InternalError for a while")
def status_500(run: SoakedRun, dice: Random) -> str:
    return _for_a_while(run, dice, lambda request: Refuse(500, "InternalError"))


@kind("status-503", "every request is answered with 503 SlowDown for a while")
def status_503(run: SoakedRun, dice: Random) -> str:
    return _for_a_while(run, dice, lambda request: SLOW_DOWN)


@kind("throttled", "a share of all requests is refused or broken off for a while")
def throttled(run: SoakedRun, dice: Random) -> str:
    return _for_a_while(run, dice, throttle(dice.uniform(0.1, 0.6), dice.randrange(1000)))


@kind("deletes-refused", "every removal is refused for a while")
def deletes_refused(run: SoakedRun, dice: Random) -> str:
    return _for_a_while(run, dice, refuse(is_removal, Refuse(403, "AccessDenied")))


def _for_a_while(run: SoakedRun, dice: Random, rule: Rule) -> str:
    before, seconds = run.newest(), dice.uniform(0.5, LONGEST_S)
    run.proxy.rule = rule
    time.sleep(seconds)
    run.heal()
    run.wait_for_more(before)
    return f"for {seconds:.1f} s"


@kind("status-403", "the keys expire: every request is answered with 403, and the command is stopped")
def status_403(run: SoakedRun, dice: Random) -> str:
    run.proxy.rule = lambda request: Refuse(403, "ExpiredToken")
    time.sleep(dice.uniform(0.5, LONGEST_S))  # it would train on to its end, and all would wait here
    run.signal_command(signal.SIGTERM)
    run.ended(1, 2, 128 + signal.SIGTERM)
    return run.last_line()[:60]


@kind("upload-truncated", "an upload breaks off in the middle of a checkpoint's weights")
def upload_truncated(run: SoakedRun, dice: Random) -> str:
    before, share = run.newest(), dice.random()
    trap = Trap(r"PUT .*/checkpoints/step_\d+/\w+\.safetensors", Break(share))
    run.proxy.rule = trap
    run.wait_until(trap.sprung.is_set, "checkpoint on its way")
    run.wait_for_more(before)
    return f"after {share:.0%}"


# --- damage ----------------------------------------------------------------------------------------------------------


@kind("truncated", "the newest checkpoint's weights are cut short")
def truncated(run: SoakedRun, dice: Random) -> str:
    return _damaged(run, WEIGHTS, damage.truncate)


@kind("flipped", "one bit of the newest checkpoint's weights is wrong")
def flipped(run: SoakedRun, dice: Random) -> str:
    return _damaged(run, WEIGHTS, damage.flip)


@kind("flipped-state", "one bit of a number in the newest checkpoint's state.json is wrong")
def flipped_state(run: SoakedRun, dice: Random) -> str:
    return _damaged(run, STATE_FILE, damage.flip_number)


@kind("file-missing", "the newest checkpoint lacks its weights")
def file_missing(run: SoakedRun, dice: Random) -> str:
    return _damaged(run, WEIGHTS, None)


@kind("newer-format", "the newest checkpoint is of a later version: the command is refused until it is removed")
def newer_format(run: SoakedRun, dice: Random) -> str:
    step = _changed(run, STATE_FILE, damage.other_format)
    run.begin()
    run.ended(2)
    if "99" not in run.last_line():
        raise Unexpected(f"was refused for something else: {run.last_line()}")
    run.store.remove(f"checkpoints/{folder_name(step)}")
    return f"step {step} was refused"


def _damaged(run: SoakedRun, file: str, change: Callable[[bytes], bytes] | None) -> str:
    """Damage the newest checkpoint, which the next attempt has to pass over."""
    step = _changed(run, file, change)
    run.go_on()
    if "skipped a damaged checkpoint" not in run.heard():
        raise Unexpected(f"the damage of step {step} was not noticed: {run.last_line()}")
    return f"step {step} was passed over"


def _changed(run: SoakedRun, file: str, change: Callable[[bytes], bytes] | None) -> int:
    """Change or remove a file of the newest checkpoint, when all processes and the local disk are gone; its step."""
    run.new_machine()
    step = run.newest()
    path = f"checkpoints/{folder_name(step)}/{file}"
    run.damaged.append(step)
    if change:
        run.store.write(path, change(run.store.read(path)))
    else:
        run.store.remove(path)
    return step
