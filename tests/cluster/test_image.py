"""The image: exact versions, no secrets, nobody's root, and all that the project needs is in it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest


@pytest.fixture
def dockerfile(folder):
    return (folder / "Dockerfile").read_text()


def instructions(text):
    """The instructions of a Dockerfile, as (word, rest)."""
    lines = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.M)).splitlines()
    return [tuple(line.split(None, 1)) for line in lines if line.strip()]


def mistakes(text):
    """What must not be in a Dockerfile of this project."""
    found, steps = [], instructions(text)
    for word, rest in steps:
        if word == "FROM" and not re.fullmatch(r"\S+:\d+\.\d+\.\d+\S*(@sha256:[0-9a-f]{64})?", rest):
            found.append(f"not an exact tag: {rest}")
        if word == "ADD" or (word == "RUN" and re.search(r"(curl|wget)[^|;&]*\|\s*(ba)?sh", rest)):
            found.append(f"something from somewhere: {rest}")
        if word == "RUN" and "pip install" in rest and not ("--requirement" in rest or "--no-deps" in rest):
            found.append(f"packages that are not pinned: {rest}")
        if word == "RUN" and "apt-get install" in rest and "rm -rf /var/lib/apt/lists" not in rest:
            found.append(f"a layer larger than it need be: {rest}")
        if word in ("ENV", "ARG") and re.search(r"(?i)secret|token|password|access_key", rest):
            found.append(f"a secret: {rest}")
    users = [rest for word, rest in steps if word == "USER"]
    if not users or users[-1] in ("root", "0"):
        found.append("runs as root")
    return found


def test_it_is_sound(dockerfile):
    assert not mistakes(dockerfile)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (r"FROM \S+", "FROM python:3.11", "not an exact tag"),
        (r"FROM \S+", "FROM python", "not an exact tag"),
        ("USER 1000", "USER root", "runs as root"),
        (r"--no-deps", "", "not pinned"),
        (r"&& rm -rf /var/lib/apt/lists/\*", "", "larger"),
        ("USER 1000", "RUN curl -s https://example.com/x | sh\nUSER 1000", "from somewhere"),
        ("USER 1000", "ENV AWS_SECRET_ACCESS_KEY=x\nUSER 1000", "a secret"),
    ],
)
def test_a_mistake_is_found(old, new, expected, dockerfile):
    assert expected in "\n".join(mistakes(re.sub(old, new, dockerfile)))


def hadolint(text):
    """What the linter of Dockerfiles says."""
    command = [Path(sys.executable).with_name("hadolint"), "--no-color", "--ignore", "DL3008", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True).stdout  # DL3008: Debian drops versions


def test_hadolint_has_nothing_against_it(dockerfile):
    assert not hadolint(dockerfile)
    assert "DL3002" in hadolint(dockerfile.replace("USER 1000", "USER root"))


def test_its_python_is_the_one_that_the_project_is_written_for(dockerfile, folder):
    project = tomllib.loads((folder.parent / "pyproject.toml").read_text())
    (tag,) = [rest for word, rest in instructions(dockerfile) if word == "FROM"]
    assert tag.startswith(f"python:{project['tool']['mypy']['python_version']}.")
    assert project["project"]["requires-python"] == f">={project['tool']['mypy']['python_version']}"


def test_what_it_copies_is_there_and_not_ignored(dockerfile, folder):
    root = folder.parent
    shown = {line[1:] for line in (folder / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for word, rest in instructions(dockerfile) if word == "COPY" for source in rest.split()[:-1]}
    assert copied == shown
    assert all((root / source).exists() for source in copied)
    found = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name.rstrip("*") for name in found} <= copied


def test_it_has_what_the_cluster_launcher_uses(dockerfile, folder):
    (packages,) = [rest for word, rest in instructions(dockerfile) if "apt-get install" in rest]
    assert {"rsync", "openssh-client", "curl"} <= set(packages.split())
    pinned = {line.partition("==")[0] for line in (folder.parent / "requirements.txt").read_text().splitlines()}
    optional = tomllib.loads((folder.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {name.lower() for name in optional["cluster"]} <= {name.lower() for name in pinned}
    mounts = (folder / "aws.yaml").read_text()
    assert "/home/ray/.ray/auth_token" in mounts
    assert "HOME=/home/ray " in dockerfile
