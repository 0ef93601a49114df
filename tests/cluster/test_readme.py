"""The page on clusters: its commands and files exist, and its sums add up."""

import re
import shlex

import click
import pytest
from ray.scripts.scripts import cli

from cluster.render import values
from ray_jobs.cli.console import main
from ray_jobs.cli.options import parse
from tests.ray_jobs.submissions.fake_cluster import FakeCluster


@pytest.fixture(scope="session")
def page(folder):
    return (folder / "README.md").read_text()


@pytest.fixture(scope="session")
def commands(page):
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```", page, flags=re.M | re.S))
    return [line for line in blocks.replace("\\\n", " ").splitlines() if line]


def test_files_that_it_names_are_there(page, commands, folder):
    table = page[page.index("| file") : page.index("## Before")]
    listed = set(re.findall(r"`([\w./]+)`", table)) - {"requirements.txt"}
    used = set(re.findall(r"(?<!\S)cluster/([\w./]+)", "\n".join(commands)))
    assert len(listed) >= 7
    assert len(used) >= 7
    for name in listed | used:
        assert (folder / name).exists(), name


def test_rays_commands_are_those_of_ray(commands):
    called = [shlex.split(line) for line in commands if line.startswith("ray ")]
    assert len(called) >= 5
    for words in called:
        command: click.Command = cli
        rest = words[1:]
        while isinstance(command, click.Group):
            command, rest = command.commands[rest[0]], rest[1:]
        command.make_context(words[1], rest)  # a usage error is raised for what it does not know


def test_the_first_job_is_a_run(commands):
    (line,) = [line for line in commands if line.startswith("aign submit")]
    words = shlex.split(line)
    train, *argv = words[words.index("--") + 1 :]
    place = parse(argv).job.placement
    assert train == "train"
    assert place.storage == f"s3://{values()['aws']['bucket']}/runs"
    assert f"aign evaluate {place.storage}/{place.name}" in commands


def test_it_can_be_looked_at_stopped_and_resumed(commands, monkeypatch):
    """As far as that goes without a cluster."""
    cluster = FakeCluster()
    cluster.use(monkeypatch)
    called = [line for line in commands if line.startswith(("aign submit", "aign jobs"))]
    assert {shlex.split(line)[2] for line in called} == {"--", "list", "logs", "stop", "resume"}
    for line in called:
        monkeypatch.setattr("sys.argv", shlex.split(line))
        main()
    assert [job.submission_id for job in cluster.jobs] == ["first-1", "first-2"]


def test_sums_add_up(page):
    rows = re.findall(r"^\| [^|]+ \| ([\d .×+/()]+) \| ([\d.]+) \|$", page, flags=re.M)
    assert len(rows) == 6
    for sum_, said in rows:
        assert f"{eval(sum_.replace('×', '*')):.2f}" == said
    assert "100 × 0.08 / 730" in page
    assert values()["nodes"]["head"]["disk_gb"] == 100
    assert f"4 × {values()['idle_minutes']} / 60" in page
