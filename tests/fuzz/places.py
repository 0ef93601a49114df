"""Where things lie: addresses of runs and stores, names, output paths, and the arguments that hold them."""

from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import mutations, world
from tests.fuzz.case import Call, Field, Lay, command, fixed
from tests.fuzz.keypoints import as_csv, people

ADDRESSES = (
    *(
        "",
        " ",
        ".",
        "..",
        "/",
        "~",
        "~nobody/x",
        "runs",
        "runs/pose",
        "runs/pose/",
        "runs//pose",
        "runs/pose/config.json",
    ),
    *("s3://", "s3:/x", "s3:x", "s3://bucket", "s3://bucket/x", "s3://bucket/../x", "s3:///x", "S3://bucket/x"),
    *("s3://b/a b", "gs://bucket/x", "http://x/y", "file:///tmp/x", "runs/pose@", "runs/pose@2", "runs/pose@99"),
    *("runs/pose@-1", "runs/pose@x", "/dev/null", "/dev/full/x", "/proc/1/x", "nope/x", "a\nb", "😀", "x" * 300),
    *("a\u202eb", "$(touch x)", "`touch x`", "-", "--", "%s%n", "{0}", "file.txt", "file.txt/x", "C:\\runs\\pose"),
)
NAMES = (*ADDRESSES, "../x", "/abs", "a/b", "a.b", "con", ".hidden", "x.partial", "a" * 255, "step_0000001", "A", "a:b")


def lay(folder: Path) -> None:
    """A run, a file, a file of keypoints."""
    world.copy("pose", folder)
    (folder / "file.txt").write_text("hello")
    (folder / "k.csv").write_text(as_csv(people()))


def draw(random: Random, folder: Path) -> Call:
    lay(folder)
    place = random.choice(ADDRESSES)
    if random.random() < 0.3:
        place = mutations.reworded(random, place, ("/", "..", "s3://", "@", ":", "~"))
    match random.randrange(8):
        case 0:
            return command("predict", f"--out={place}", "runs/pose", "k.csv", results=("",))
        case 1:
            return command("evaluate", "runs/pose", f"--json={place}", results=("",))
        case 2:
            return command(random.choice(("evaluate", "report", "export", "sensitivity")), place, results=("",))
        case 3:
            return command("predict", "runs/pose", place, results=("predictions",))
        case 4:
            return command("train", *world.POSE, f"--from={place}", "--dry-run")
        case 5:
            return command("train", *world.POSE, f"--storage={place}", "--dry-run")
        case 6:
            return command("compress", place, "--ranks", "0.5", "--dry-run")
        case _:
            return command("train", *world.POSE, f"--name={_name(random)}", "--dry-run")


def _name(random: Random) -> str:
    name = random.choice(NAMES)
    return mutations.reworded(random, name) if random.random() < 0.3 else name


# --- what once went wrong ---------------------------------------------------------------------------------------------


def _with_run(*words: object, **about: Any) -> Lay:
    def with_run(folder: Path) -> Call:
        lay(folder)
        return command(*words, **about)

    return with_run


def _named(name: str) -> Lay:
    return fixed(command, "train", *world.POSE, f"--name={name}", "--dry-run", nonsense=True)


PREDICT = ("predict", "runs/pose", "k.csv")
CORPUS: dict[str, Lay] = {
    "predict into a file": _with_run(*PREDICT, "--out", "file.txt", nonsense=True),
    "predict into a file's folder": _with_run(*PREDICT, "--out", "file.txt/x", nonsense=True),
    "predict into s3": _with_run(*PREDICT, "--out", "s3://bucket/x", nonsense=True),
    "predict into /proc": _with_run(*PREDICT, "--out", "/proc/x", nonsense=True),
    "evaluate into no folder": _with_run("evaluate", "runs/pose", "--json", "nodir/e.json", results=("nodir",)),
    "evaluate into a folder": _with_run("evaluate", "runs/pose", "--json", "runs", nonsense=True),
    "evaluate into a full disk": _with_run("evaluate", "runs/pose", "--json", "/dev/full", nonsense=True),
    "export into /proc": _with_run("export", "runs/pose", "--out", "/proc/x", nonsense=True),
    "report into a full disk": _with_run("report", "runs/pose", "--out", "/dev/full", nonsense=True),
    "report into a folder": _with_run("report", "runs/pose", "--out", "runs", nonsense=True),
    "an export is no run": _with_run("evaluate", "runs/pose/export", nonsense=True),
    "a file is no run": _with_run("evaluate", "file.txt", nonsense=True),
    "an empty address": fixed(command, "evaluate", "", nonsense=True),
    "http": fixed(command, "evaluate", "http://127.0.0.1:9/x", nonsense=True),
    "another step": _with_run("train", *world.POSE, "--from", "runs/pose@99", "--dry-run", nonsense=True),
    "a name above": _named("../x"),
    "an absolute name": _named("/abs"),
    "the name .": _named("."),
    "the name ..": _named(".."),
    "an empty name": _named(""),
    "a name of 300 letters": _named("x" * 300),
    "storage is a file": _with_run("train", *world.POSE, "--storage", "file.txt", "--dry-run", nonsense=True),
    "storage in /proc": fixed(command, "train", *world.POSE, "--storage", "/proc/x", "--dry-run", nonsense=True),
    "a bucket without a name": fixed(command, "train", *world.POSE, "--storage", "s3://", "--dry-run", nonsense=True),
    "nobody answers": fixed(command, "train", *world.POSE, "--storage", "s3://bucket/x", "--dry-run", nonsense=True),
    "compare without seeds": fixed(command, "compare", "pose", "--seeds", "--dry-run", nonsense=True),
    "compare none at a time": fixed(command, "compare", "pose", "--concurrent", "0", "--dry-run", nonsense=True),
    "a cluster that is no address": fixed(
        command, "submit", "--cluster", "nowhere", "--", "train", "pose", nonsense=True
    ),
    "nothing to submit": fixed(command, "submit", "--", nonsense=True),
    "no verb": fixed(command, "nope", nonsense=True),
    "jobs of nothing": fixed(command, "jobs", "nope", nonsense=True),
}

FIELDS = {"places": Field(draw, CORPUS)}
