"""The commands of README, run with few steps and small networks, and those of docs, read as the command line does."""

import json
import re
import shlex
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pandas as pd
import pytest
from PIL import Image

import aign
from aign.command import parse as parse_options
from aign.data.h36m import SKELETON
from aign.tasks import TASKS
from docs.generate_options import page as options_page
from docs.record_results import PAGES, with_tables
from ray_jobs.cli.console import main
from ray_jobs.cli.options import parse, parse_verb, split_options
from ray_jobs.sweeps.plan import plan
from tests.ray_jobs.submissions.fake_cluster import FakeCluster

ROOT = Path(__file__).parent.parent
SHORT = shlex.split("--steps 4 --evaluate-every 4 --checkpoint-every 4")
SMALL = {
    "pose": shlex.split("--width 16 --num-blocks 1 --batch-size 16"),
    "superres": shlex.split("--size 44 --width 8 --discriminator-width 4 --batch-size 4"),
}


class Section(NamedTuple):
    """Part of a page below one heading."""

    page: str
    title: str
    blocks: list[tuple[str, str]]
    """Language and text."""

    def __str__(self) -> str:
        return f"{self.page}-{self.title}"

    @property
    def lines(self) -> list[str]:
        code = [text for language, text in self.blocks if not language]
        return [line for text in code for line in text.replace("\\\n", " ").splitlines()]

    @property
    def commands(self) -> list[str]:
        return [line for line in self.lines if line.startswith(("aign ", "python -m ", "AIGN_DATA="))]


def sections() -> list[Section]:
    pages = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name != "options.md")]
    found = []
    for path in pages:
        parts = re.split(r"^##? (.+)$", path.read_text(), flags=re.M)
        for title, text in zip(parts[1::2], parts[2::2], strict=True):
            blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.M | re.S)
            found.append(Section(path.relative_to(ROOT).as_posix(), title, blocks))
    return found


SECTIONS = sections()
IN_README = [section for section in SECTIONS if section.page == "README.md"]
SUBMITTING = ("aign submit ", "aign jobs ")
WITH_SUBMISSIONS = sorted({s.page for s in SECTIONS if any(line.startswith(SUBMITTING) for line in s.commands)})
WITH_COMMANDS = [section for section in SECTIONS if section.commands]
WITH_PYTHON = [s for s in SECTIONS if any(language == "python" for language, _ in s.blocks) and "add_a" not in s.page]
MISTAKES = [
    s for s in SECTIONS if s.page == "docs/common_mistakes.md" and s.blocks and s.blocks[0][1].startswith("aign")
]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with input of each kind, as someone who follows the pages has it."""
    monkeypatch.chdir(tmp_path)
    keypoints = [[[10.0 * j, 5.0 * j + 1] for j in range(SKELETON.num_joints)]]
    Path("keypoints.json").write_text(json.dumps({"keypoints": keypoints}))
    Path("photos").mkdir()
    for i in range(3):
        Image.new("RGB", (80, 60), (80 * i, 100, 200)).save(f"photos/{i}.jpg")


@pytest.fixture
def faces(workplace):
    """A folder of images with a table of attributes."""
    Path("faces").mkdir()
    for i in range(240):
        Image.new("RGB", (44, 44), (i, 255 * (i % 2), 100)).save(f"faces/{i:03}.png")
    table = pd.DataFrame({"file": [f"{i:03}.png" for i in range(240)], "smiling": [1, -1] * 120})
    table.to_csv("faces/attributes.csv", index=False)


@pytest.mark.ray
def test_commands_of_the_readme_run(workplace, faces, ray_local, monkeypatch):
    commands = [command for section in IN_README for command in section.commands]
    assert len(commands) >= 7
    for command in commands:
        if not command.startswith(SUBMITTING):
            _call(*_short(command))
    assert Path("first.json").exists()
    assert Path("first.html").exists()
    assert Path("poses/picture.png").exists()
    assert Path("imagined/grid.png").exists()


@pytest.mark.parametrize("section", WITH_COMMANDS, ids=str)
def test_commands_are_understood(section):
    """Options, values and names of all pages, as far as that goes without data, runs or a cluster."""
    for command in section.commands:
        words = shlex.split(re.sub(r"^AIGN_DATA=\S+ ", "", command))
        if words[0] == "python":
            _understand_module(*words[2:])
        elif not command.startswith(SUBMITTING):  # which are called below, in their order
            _understand(*words[1:])


def _short(command: str) -> list[str]:
    """The words of a command with few steps and small networks; workers only where there are two."""
    words = shlex.split(command.replace("--workers 1", "--workers 0"))
    if words[1] != "train":
        return words
    if "--steps" in words:
        at = words.index("--steps")
        del words[at : at + 2]
    return [*words, *SMALL[words[2]], *SHORT]


def _call(*words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", list(words))
        main()  # a failure is a SystemExit


def _understand(verb: str, *argv: str) -> None:
    verb_of_library = import_module(f"ray_jobs.{verb}")
    if verb == "train":
        parse(argv)
    elif verb == "compare":
        verb_of_library.plan(*split_options(verb_of_library.Options, argv, verb))
    elif verb == "sweep":
        if argv[0] != "compress":  # which reads the run
            plan(argv)
    elif verb != "compress":
        parse_verb(verb_of_library.Options, argv, verb)


def _understand_module(module: str, *argv: str) -> None:
    assert find_spec(module), module
    if module.startswith("aign.fitting"):
        parse_options(import_module(f"{module}.__main__").Options, argv, module)


@pytest.mark.parametrize("section", WITH_PYTHON, ids=str)
def test_python(section, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for language, block in section.blocks:
        if language == "python":
            exec(block.replace("steps=500", "steps=4, width=16, batch_size=16, quiet=True"), {})


@pytest.mark.parametrize("section", MISTAKES, ids=str)
def test_mistakes_are_refused_as_described(section, tmp_path, monkeypatch, capsys):
    """The heading names the value, then the command shows how to get the message."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AIGN_DATA", raising=False)
    with pytest.raises(SystemExit) as ended:
        _call(*shlex.split(section.blocks[0][1]))
    assert ended.value.code == 2
    value = section.title.split("`")[1].split(":")[0]
    assert value in capsys.readouterr().err


def test_a_task_is_added_as_described(workplace, monkeypatch):
    blocks = [block for section in SECTIONS if section.page == "docs/add_a_task.md" for block in section.blocks]
    code, in_parts = (text for language, text in blocks if language == "python")
    (commands,) = (text for language, text in blocks if language == "text")
    radius = ModuleType("radius")
    monkeypatch.setitem(sys.modules, "radius", radius)
    exec(code, vars(radius))
    monkeypatch.setitem(TASKS, "radius", radius.RADIUS)
    for command in commands.splitlines():
        _call(*shlex.split(command))
    assert len(pd.read_csv("radii/radii.csv")) == 3
    assert Path("exported/generator.onnx").exists()
    exec(in_parts, vars(radius))
    monkeypatch.setitem(TASKS, "radius", radius.RADIUS)
    trained = aign.train("radius", steps=4, device="cpu")
    assert trained.progress.step == 4


@pytest.mark.parametrize("page", WITH_SUBMISSIONS)
def test_submissions_of_a_page_follow_each_other(page, monkeypatch):
    cluster = FakeCluster()
    cluster.use(monkeypatch)
    commands = [command for section in SECTIONS if section.page == page for command in section.commands]
    for command in commands:
        if command.startswith(SUBMITTING):
            _call(*shlex.split(command))
    second = {"first-2"} if page == "docs/clusters.md" else set()  # a name that is submitted again
    assert {"first-1"} | second <= {job.submission_id for job in cluster.jobs}


def test_the_demo_is_a_valid_training_command():
    make = ["make", "--no-print-directory", "-n", "demo"]
    printed = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    words = shlex.split(printed.strip().splitlines()[-1])
    assert words[0].endswith("aign")
    assert words[1] == "train"
    job = parse(words[2:]).job
    assert job.run.preset == "aign"
    assert str(job.placement.workers) == "2"


def test_targets_of_make_exist():
    """What takes long is looked at, not run: the tests of each run a part of it."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text() for page in pages)
    targets = sorted(set(re.findall(r"`make ([\w-]+)`", text)))
    assert {"test", "faults", "soak", "fuzz", "docs"} <= set(targets)
    make = ["make", "--no-print-directory", "-n", *targets]
    printed = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    modules = re.findall(r"-m (tests\S+|docs\S+)", printed) + re.findall(r"`python -m (tests[\w.]+)", text)
    assert len(modules) >= 5
    for module in modules:
        assert find_spec(module), module


def test_readme_is_short_and_its_links_lead_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    assert len(pages[0].read_text().splitlines()) <= 160
    for page in pages:
        for link in re.findall(r"\]\(([\w./-]+)\)", page.read_text()):
            assert (page.parent / link).exists(), link


def test_tables_are_those_of_the_records():
    for page in PAGES:
        assert with_tables(page.read_text()) == page.read_text(), page


def test_the_page_on_options_has_every_option_of_training():
    page = options_page()
    for option in ("--steps", "--workers", "--from", "--dry-run", "--alpha", "--hidden", "--space", "--ranks"):
        assert f"| `{option}` |" in page
