"""One run of a drill: the real command in a session of its own, seen from outside through the store."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from aign.errors import UserError
from aign.storage.store import Store
from ray_jobs.runs.checkpoints import Checkpoint, checkpoint_steps, fetch_checkpoint
from tests.faults.proxy import Proxy

STEPS, CHECKPOINT_EVERY, LOG_EVERY = 200, 20, 5
OPTIONS = (
    *("--steps", str(STEPS), "--checkpoint-every", str(CHECKPOINT_EVERY), "--log-every", str(LOG_EVERY)),
    *("--evaluate-every", str(STEPS), "--width", "64", "--num-blocks", "2", "--batch-size", "256"),
)
"""A tiny run of some 20 s on two cores once it has started: long enough that a fault comes in the middle."""
LONGEST_RUN_S = 600.0


class Unexpected(Exception):
    """What a drill did not expect of a run; it ends the drill."""


class Run:
    """One run; everything that it starts ends with :meth:`end`."""

    def __init__(self, name: str, storage: str, proxy: Proxy, folder: Path, options: Sequence[str] = OPTIONS) -> None:
        """``folder`` is for its temporary files and for what it says; its commands see the store through ``proxy``."""
        self.name, self.storage, self.proxy, self.folder, self.options = name, storage, proxy, folder, options
        self.store = Store(storage) / name  # not through the proxy: to watch a run must not disturb it
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        # A short name, for Ray's sockets lie there; not on a disk that a drill fills, and no drill finds another's Ray.
        self.ray_folder = tempfile.mkdtemp(prefix="", dir=folder.parent)
        self.committed_before: list[int] = []
        self.damaged: list[int] = []  # steps of checkpoints that the drill itself has broken
        self.fault_time: float | None = None
        self.problems: list[str] = []
        self.notes: list[str] = []
        self._log = folder / "console.txt"
        self._command: subprocess.Popen | None = None
        self._sessions: list[int] = []

    def reach_store_at(self, host: str) -> None:
        """Let commands see the store at another address of this machine: on other hosts, this one's own is theirs."""
        self.proxy.cut()
        target_host, target_port = self.proxy.target
        self.proxy = Proxy(target_port, target_host, host)

    # --- the command ---

    def start(self, *options: str, workers: str = "2", address: str | None = None, **streams: int) -> None:
        """Start the command; the same again goes on with the run. ``streams`` are its standard output and error."""
        argv = ["-m", "ray_jobs.train", "pose", *self.options, "--workers", workers, *options]
        self.start_process([*argv, "--storage", self.storage, "--name", self.name], address=address, **streams)

    def start_sweep(self) -> None:
        """Start a sweep of two trials, one after the other, the first of which is the run of ``start``."""
        space = ["--space", "adversarial-weight=0.02|0.01", "--search", "grid", "--max-concurrent", "1"]
        argv = ["-m", "ray_jobs.sweep", "pose", *self.options, "--workers", "2", *space]
        self.start_process([*argv, "--storage", self.storage, "--name", self.name])

    @contextlib.contextmanager
    def elsewhere(self) -> Iterator["Run"]:
        """The same run seen from another host: its commands share nothing with this one's but the store."""
        folder = Path(tempfile.mkdtemp(prefix=f"{self.folder.name}-", dir=self.folder.parent))
        other = Run(self.name, self.storage, self.proxy, folder, self.options)
        try:
            yield other
        finally:
            other.end()

    def signal_command(self, signum: int) -> None:
        assert self._command
        self._command.send_signal(signum)

    def start_process(self, argv: list[str], address: str | None = None, **kwargs) -> subprocess.Popen:
        """Start Python as the leader of a new session, to which all that it starts in turn belongs."""
        with self._log.open("a") as log:
            self._command = subprocess.Popen(
                [sys.executable, *argv],
                **{"stdout": log, "stderr": subprocess.STDOUT, **kwargs},
                env=self._environment(address),
                start_new_session=True,
            )
        self._sessions.append(self._command.pid)
        return self._command

    def call(self, argv: list[str]) -> None:
        """Run Python to its end, beside the command. Raises Unexpected if it fails."""
        with self._log.open("a") as log:
            ended = subprocess.run([sys.executable, *argv], env=self._environment(None), stdout=log, stderr=log)
        if ended.returncode:
            raise Unexpected(f"{' '.join(argv)} ended with status {ended.returncode}: {self.last_line()}")

    def _environment(self, address: str | None) -> dict[str, str]:
        changes = {
            "AWS_ENDPOINT_URL": self.proxy.endpoint,
            "TMPDIR": str(self.temporary),
            "AIGN_SPOOL": str(self.temporary / "spool"),
            "RAY_TMPDIR": self.ray_folder,
            "PYTHONUNBUFFERED": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # a cluster's jobs call "python"
        }
        kept = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "AWS_ENDPOINT_URL_S3")}
        return {**kept, **changes, **({"RAY_ADDRESS": address} if address else {})}

    def is_alive(self) -> bool:
        """Whether the command runs."""
        return self._command is not None and self._command.poll() is None

    def wait(self, timeout_s: float = LONGEST_RUN_S) -> int:
        """The exit status of the command."""
        assert self._command
        try:
            return self._command.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise Unexpected(f"had not ended after {timeout_s:.0f} s; it said: {self.last_line()}") from None

    def finish(self) -> None:
        """Wait for the end of a run that must end well."""
        if status := self.wait():
            raise Unexpected(f"ended with status {status}: {self.last_line()}")

    def heard(self, said: bytes) -> None:
        """Keep what the command said through a stream of the drill's own."""
        with self._log.open("ab") as log:
            log.write(said)

    def said(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def last_line(self) -> str:
        return ([line for line in self.said().splitlines() if line.strip()] or ["nothing"])[-1].strip()

    def expect(self, holds: bool, problem: str) -> None:
        """Note a problem; the drill goes on."""
        if not holds:
            self.problems.append(problem)

    # --- what is in the store ---

    def committed(self) -> list[int]:
        return checkpoint_steps(self.store)

    def newest(self) -> int:
        """The step of the newest checkpoint, 0 before the first."""
        return max(self.committed(), default=0)

    def lines(self) -> list[dict]:
        """All metrics that have arrived, in the order they were written, with the attempt that each belongs to."""
        parts = self.store.names("metrics")
        return [
            {**json.loads(line), "attempt": int(part[:3])}
            for part in parts
            for line in self.store.read(f"metrics/{part}").splitlines()
        ]

    def read(self, step: int) -> Checkpoint | None:
        """A checkpoint, or None if it is not whole."""
        with contextlib.suppress(UserError, FileNotFoundError):
            try:
                return fetch_checkpoint(self.store, step, self.folder / "read")
            finally:
                shutil.rmtree(self.folder / "read", ignore_errors=True)
        return None

    def wait_until(self, holds: Callable[[], bool], what: str, timeout_s: float = 300.0) -> None:
        """Look often; raises Unexpected after the time or when the command has ended."""
        end = time.monotonic() + timeout_s
        while not holds():
            if self._command and self._command.poll() is not None and not holds():
                raise Unexpected(f"ended with status {self._command.returncode} before {what}: {self.last_line()}")
            if time.monotonic() > end:
                raise Unexpected(f"no {what} within {timeout_s:.0f} s")
            time.sleep(0.1)

    def wait_for_checkpoint(self, step: int) -> None:
        self.wait_until(lambda: self.newest() >= step, f"checkpoint of step {step}")

    # --- faults ---

    def fault(self, inject: Callable[[], object]) -> None:
        """Do ``inject``: the moment that losses are counted from."""
        self.committed_before = self.committed()
        inject()
        self.fault_time = time.time()

    def attempt(self) -> dict:
        """What the newest attempt has written down about itself."""
        return json.loads(self.store.read(f"attempts/{self.store.names('attempts')[-1]}"))

    def workers(self) -> list[psutil.Process]:
        """The workers of the newest attempt, by rank."""
        return [psutil.Process(process["pid"]) for process in self.attempt()["processes"]]

    def job_process(self) -> psutil.Process:
        """The process of the command that runs on a cluster as its job."""
        found = [p for p in self.processes() if "ray_jobs.submissions.driver" in p.cmdline()]
        if len(found) != 1:
            raise Unexpected(f"{len(found)} jobs run on the cluster")
        return found[0]

    def _train_workers(self) -> list[psutil.Process]:
        return [p for p in self.processes() if "RayTrainWorker" in " ".join(p.cmdline())]

    def sender_of(self, client_port: int) -> psutil.Process:
        """The process that a connection to the store belongs to."""
        for process in self.processes():
            if any(c.laddr and c.laddr.port == client_port for c in process.net_connections()):
                return process
        raise Unexpected("a request came from no process of this run")

    def new_machine(self) -> None:
        """End all processes and forget the local disk: what comes next has only the store."""
        self.end()
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(parents=True, exist_ok=True)

    def end(self) -> None:
        """Kill every process that came of what was started here."""
        for _ in range(50):
            left = self.processes()
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            if self._command:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._command.wait(0.1)
            if not left:
                return
            time.sleep(0.1)

    def processes(self) -> list[psutil.Process]:
        """All that came of what was started here and lives."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if self._is_ours(process) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def _is_ours(self, process: psutil.Process) -> bool:
        """Whether it came of what was started here; a cluster's jobs are in sessions of their own."""
        return os.getsid(process.pid) in self._sessions or process.environ().get("RAY_TMPDIR") == self.ray_folder

    def kill_command(self) -> None:
        """Kill the command itself; what it started stays."""
        assert self._command
        self._command.send_signal(signal.SIGKILL)
        self._command.wait(10)

    def workers_alive(self) -> bool:
        return bool(self._train_workers())

    def command_to_send_the_rest(self) -> list[str]:
        """What the run says to do with results that wait; as Python's arguments."""
        match = re.search(r"send them with: python (-m ray_jobs\.storage\.spool \S+)", self.said())
        if not match:
            raise Unexpected(f"did not say where results wait: {self.last_line()}")
        return match[1].split()


def kill_tree(root: psutil.Process) -> None:
    """Kill a process and all that it has started."""
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # some end as soon as the first one is gone
            process.kill()
