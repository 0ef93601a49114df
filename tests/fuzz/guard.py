"""How a case runs: in a forked child of one warm process, watched, with what it wrote, said and ran looked at."""

import contextlib
import faulthandler
import hashlib
import io
import json
import os
import resource
import shutil
import signal
import stat
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from unittest import mock

from aign.errors import UserError
from tests.fuzz.case import Call, LateRefusal, Lay, Outcome
from tests.fuzz.words import fault_in

CPU_SECONDS = 15
"""More than any case needs: what takes longer hangs."""
IDLE_SECONDS = 20
"""What sleeps so long without using a processor waits for something that never comes. A busy machine is no excuse: a
process that waits for a processor does not sleep."""
MEMORY = 8 << 30
LOOK_SECONDS = 0.25

ENVIRONMENT = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",  # nobody answers there
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_COLOR": "1",
}
UNSET = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AIGN_SPOOL")

State = Mapping[str, str]
"""What a folder holds: a hash of each file, by path."""


class _WouldStart(BaseException):
    """A case came so far that Ray would have been started. No Exception: nothing in between may take it."""


@dataclass(frozen=True)
class Heard:
    """What a case was seen to do."""

    outcome: Outcome
    said: str
    """Its last line on stderr, or the end of its traceback."""
    shown: str
    traceback: str
    seconds: float


def canary(folder: Path) -> Path:
    """What does not exist unless code that the files of a case hold was run."""
    return folder.parent / "canary"


def warm() -> None:
    """Import what cases need, once for all children, and keep them from starting Ray."""
    import matplotlib as mpl
    import ray
    import torch

    import aign.tasks.pose
    from ray_jobs.cli.console import VERBS

    for module in ("aign.notebook", "ray_jobs.sweeps.tuning", *(f"ray_jobs.{verb}" for verb in VERBS)):
        import_module(module)
    mpl.use("agg")
    torch.set_num_threads(1)
    ray.init = _would_start
    # the same world for all cases: drawing it takes longer than most of them
    drawn = aign.tasks.pose.generated_bodies()
    aign.tasks.pose.generated_bodies = lambda *_, **__: drawn


def _would_start(*_: object, **__: object) -> None:
    raise _WouldStart


def quietly(made: Callable[[Path], None], folder: Path) -> None:
    """Make something with this process's own commands, which say nothing; they warm it, too."""
    with mock.patch.dict(os.environ, ENVIRONMENT | {"AIGN_CACHE": str(folder / "cache")}):
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                made(folder)
        except BaseException:
            print(said.getvalue())
            raise


def run(lay: Lay, *, show: bool = False) -> Heard:
    """Run a case in a child of this process; ``show`` prints the files that it begins with."""
    home = Path(tempfile.mkdtemp(prefix="aign-fuzz-"))
    began = time.process_time() + _children_seconds()
    try:
        child = os.fork()
        if not child:
            _as_child(lay, home)
        hung = not _wait(child)
        if show:
            _show(home / "case")
        return _judged(home, hung, time.process_time() + _children_seconds() - began)
    finally:
        _remove(home)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# --- in the child -----------------------------------------------------------------------------------------------------


def _as_child(lay: Lay, home: Path) -> None:
    """Lay the files down and call; never returns."""
    status = 70
    try:
        os.setsid()
        _enter(home)
        call = lay(home / "case")
        before = snapshot(home / "case")
        (home / "called.json").write_text(json.dumps([_about(call), before]))
        ended = _perform(call)
        (home / "ended.json").write_text(json.dumps(ended))
        status = 0
    except BaseException:
        (home / "broken").write_text(traceback.format_exc())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _enter(home: Path) -> None:
    """An environment of its own, with little memory and a screen that can be read afterwards."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(home / name, os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    faulthandler.enable(open(home / "stacks", "w"))  # noqa: SIM115
    for name in ("case", "scratch"):
        (home / name).mkdir()
    for name in UNSET:
        os.environ.pop(name, None)
    scratch = str(home / "scratch")
    os.environ.update(ENVIRONMENT, TMPDIR=scratch, AIGN_CACHE=f"{scratch}/cache", AIGN_SPOOL=f"{scratch}/spool")
    os.environ["AIGN_DATA"] = str(home / "case" / "data")
    tempfile.tempdir = None
    os.chdir(home / "case")


def _about(call: Call) -> dict:
    return {name: getattr(call, name) for name in ("shown", "nonsense", "sound", "traces", "results")}


def _perform(call: Call) -> dict:
    """How it ended: a status, as the command's, or a traceback."""
    try:
        call.run()
    except SystemExit as ended:
        return {"status": ended.code or 0}
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return {"status": 2, "traceback": traceback.format_exc()}
    except LateRefusal:
        return {"status": "late", "traceback": traceback.format_exc()}
    except _WouldStart:
        return {"status": 0}
    except BaseException:
        return {"status": "traceback", "traceback": traceback.format_exc()}
    return {"status": 0}


# --- in the parent ----------------------------------------------------------------------------------------------------


def _wait(child: int) -> bool:
    """Whether it ended by itself. All that it started is gone afterwards."""
    used, idle_since = -1.0, time.monotonic()
    try:
        while True:
            found, _ = os.waitpid(child, os.WNOHANG)
            if found:
                return True
            sleeps, seconds = _usage(child)
            if seconds != used or not sleeps:
                used, idle_since = seconds, time.monotonic()
            if seconds > CPU_SECONDS or time.monotonic() - idle_since > IDLE_SECONDS:
                os.kill(child, signal.SIGABRT)  # faulthandler writes where it is
                os.waitpid(child, 0)
                return False
            time.sleep(0.005 if seconds < 1 else LOOK_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)


def _usage(process: int) -> tuple[bool, float]:
    """Whether a process sleeps, and the seconds of a processor that all its threads have used."""
    state, *fields = state_of(process)
    return state == "S", (int(fields[10]) + int(fields[11])) / os.sysconf("SC_CLK_TCK")


def state_of(process: int) -> list[str]:
    """What /proc says of a process after its name: its state first."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _judged(home: Path, hung: bool, seconds: float) -> Heard:
    if (home / "broken").exists() or not (home / "called.json").exists():
        broken = _read(home / "broken") or _read(home / "stacks") or "the case ended before it was called"
        return Heard(Outcome.BROKEN, broken.strip().splitlines()[-1], "nothing was called", broken, seconds)
    about, before = json.loads(_read(home / "called.json"))
    call = Call(run=lambda: None, **{name: tuple(v) if isinstance(v, list) else v for name, v in about.items()})
    ended = json.loads(_read(home / "ended.json") or "{}")
    stderr = _read(home / "stderr")
    outcome, said = _outcome(call, hung, ended.get("status"), stderr, ended.get("traceback", ""), home)
    if not outcome.is_fault:
        outcome = call.expected(outcome)
    if canary(home / "case").exists():
        outcome = Outcome.RAN_CODE
    elif not outcome.is_fault and (changed := _wrongly_changed(call, outcome, before, snapshot(home / "case"))):
        outcome, said = Outcome.CHANGED, f"{', '.join(changed[:4])}   ({said})"
    where = ended.get("traceback", "") or _read(home / "stacks")
    return Heard(outcome, said, call.shown, where, seconds)


def _outcome(call: Call, hung: bool, status: object, stderr: str, raised: str, home: Path) -> tuple[Outcome, str]:
    last = (stderr.strip().splitlines() or [""])[-1]
    if hung:
        return Outcome.HANG, last
    if status is None:
        return Outcome.TRACEBACK, f"ended by a signal; {last}"
    if status == "traceback" or "Traceback (most recent call last)" in stderr:
        return Outcome.TRACEBACK, (raised.strip().splitlines() or [last])[-1]
    if status == "late":
        return Outcome.LATE, last
    if status not in (0, 2):
        return Outcome.RAW, f"status {status}: {last}"
    if fault := fault_in(stderr, refused=status == 2, hidden=home / "scratch"):
        return Outcome.RAW, f"{fault}: {last}"
    return (Outcome.REFUSED if status == 2 else Outcome.ACCEPTED), last


def _wrongly_changed(call: Call, outcome: Outcome, before: State, after: State) -> list[str]:
    """Paths that are not as they may be."""
    accepted = outcome in (Outcome.ACCEPTED, Outcome.TAKEN)
    allowed = (*call.traces, *(call.results if accepted else ()))
    changed = [path for path, content in before.items() if after.get(path) != content]
    new = [path for path in after if path not in before]
    if accepted:  # results, whole
        new = [path for path in new if ".partial" in path]
    return [path for path in [*changed, *new] if not path.startswith(allowed or ("\0",))]


def snapshot(folder: Path) -> State:
    """The files of a folder, and what each holds; of what is no regular file only what it is."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            kind = path.lstat().st_mode
            content = path.read_bytes() if stat.S_ISREG(kind) else str(stat.S_IFMT(kind)).encode()
            found[os.fsencode(path.relative_to(folder)).decode(errors="replace")] = hashlib.sha256(content).hexdigest()
    return found


def _show(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        print(f"{path.relative_to(folder)}: {len(content)} bytes", content[:300] if len(content) < 100_000 else "")


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _remove(home: Path) -> None:
    for place, folders, _ in os.walk(home):
        for name in folders:
            if not Path(place, name).is_symlink():
                Path(place, name).chmod(0o700)
    shutil.rmtree(home, ignore_errors=True)
