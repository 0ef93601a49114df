"""Fault drills against real runs: ``python -m tests.faults [--only NAME ...] [--store moto|URL] [--bucket NAME]``."""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import ClientError
from rich.console import Console
from rich.table import Table

from aign.storage.store import Store
from tests.faults.drills import DRILLS, Drill, Skipped
from tests.faults.judge import Final, Verdict, judge
from tests.faults.proxy import Proxy
from tests.faults.run import Run, Unexpected
from tests.object_store import KEYS, serve

REFERENCE = "undisturbed"


def main(argv: Sequence[str]) -> int:
    """Run the drills one after the other; 0 if none failed."""
    arguments = parse(argv)
    drills = [DRILLS[name] for name in DRILLS if name in arguments.only or name == REFERENCE]
    with store(arguments.store, arguments.bucket) as storage, folder_for_runs(arguments.keep) as folder:
        verdicts = run_all(drills, storage, folder)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table(verdicts))
    return 0 if all(verdict.passed or verdict.skipped for verdict in verdicts) else 1


def parse(argv: Sequence[str]) -> argparse.Namespace:
    drills = "\n".join(f"  {drill.name:14} {drill.summary}" for drill in DRILLS.values())
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=f"Injects faults into real runs. Drills:\n{drills}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=DRILLS, default=list(DRILLS), metavar="NAME", help="these drills")
    add_store(parser, "aign-faults")
    parser.add_argument("--keep", action="store_true", help="keep the folder of consoles and temporary files")
    return parser.parse_args(argv)


def add_store(parser: argparse.ArgumentParser, bucket: str) -> None:
    """Which store the drills write to."""
    parser.add_argument(
        "--store",
        type=_endpoint,
        default=os.environ.get("AWS_ENDPOINT_URL", "moto"),
        help="http address of an S3 store, with keys from the environment; moto: a server that is started here"
        " (default: AWS_ENDPOINT_URL, else moto)",
    )
    parser.add_argument("--bucket", default=bucket, help="created if it is not there")


def _endpoint(text: str) -> str:
    if text != "moto" and not text.startswith("http://"):
        raise argparse.ArgumentTypeError(f"{text}: drills look into requests, which needs an http:// address")
    return text


@contextlib.contextmanager
def store(where: str, bucket: str, prefix: str | None = None) -> Iterator[str]:
    """An address to write runs to; the environment names its endpoint. What has a given ``prefix`` stays at the end."""
    with contextlib.ExitStack() as closing:
        if where == "moto":
            os.environ.pop("AWS_PROFILE", None)
            os.environ.pop("AWS_SESSION_TOKEN", None)
            os.environ.update(KEYS)
            where = closing.enter_context(serve())
        os.environ["AWS_ENDPOINT_URL"] = where
        make_bucket(bucket)
        if prefix is None:
            prefix = f"drills-{uuid.uuid4().hex[:8]}"
            closing.callback(Store(f"s3://{bucket}").remove, prefix)
        yield f"s3://{bucket}/{prefix}"


def make_bucket(bucket: str) -> None:
    client = boto3.client("s3", region_name=os.environ.get("AWS_REGION", "us-east-1"))
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError:
        client.create_bucket(Bucket=bucket)


@contextlib.contextmanager
def folder_for_runs(keep: bool) -> Iterator[Path]:
    """A folder with a short name: Ray's sockets lie in it, and the system bounds the length of their addresses."""
    folder = Path(tempfile.mkdtemp(prefix="drill-", dir="/tmp" if os.path.isdir("/tmp") else None))
    try:
        yield folder
    finally:
        if keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def run_all(drills: Sequence[Drill], storage: str, folder: Path) -> list[Verdict]:
    reference: Final | None = None
    verdicts = []
    for drill in drills:
        print(f"{drill.name}: {drill.summary}", flush=True)
        started = time.monotonic()
        verdict, left = perform(drill, storage, folder / drill.name, reference)
        if drill.name == REFERENCE:
            reference = left
        verdicts.append(verdict)
        how = "skipped" if verdict.skipped else "passed" if verdict.passed else "FAILED"
        print(f"{drill.name}: {how} after {time.monotonic() - started:.0f} s {verdict.costs}".rstrip(), flush=True)
        for line in [*verdict.problems, *verdict.notes]:
            print(f"    {line}", flush=True)
    return verdicts


def perform(drill: Drill, storage: str, folder: Path, reference: Final | None) -> tuple[Verdict, Final | None]:
    """One drill; whatever happens, all that it started ends."""
    with new_run(drill.name, storage, folder) as run:
        try:
            drill.go(run)
            return judge(drill, run, reference)
        except Skipped as reason:
            return Verdict(name=drill.name, notes=[str(reason)], skipped=True), None
        except Unexpected as problem:
            run.problems.append(str(problem))
            return judge(drill, run, reference)
        except Exception as error:  # a mistake of the drill must not keep the others from their turn
            traceback.print_exc()
            return Verdict(name=drill.name, problems=[f"{type(error).__name__}: {error}"]), None


@contextlib.contextmanager
def new_run(name: str, storage: str, folder: Path) -> Iterator[Run]:
    """A run with a line to the store of its own; all that it starts ends with the block."""
    target = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    proxy = Proxy(target.port or 80, target.hostname or "127.0.0.1")
    run = Run(f"drill-{name}", storage, proxy, folder)
    try:
        yield run
    finally:
        run.end()
        run.proxy.cut()


def table(verdicts: Sequence[Verdict]) -> Table:
    columns = ("drill", "", "steps lost", "training again after, s", "weights", "metrics", "checkpoints", "remarks")
    result = Table(*columns)
    for v in verdicts:
        how = "skipped" if v.skipped else "[green]passed[/]" if v.passed else "[red]FAILED[/]"
        remarks = "; ".join([*v.problems, *v.notes])
        result.add_row(v.name, how, v.lost, v.seconds, v.weights, v.metrics, v.checkpoints, remarks)
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
