"""Who may import whom: arrows between packages and rooms only go downwards, and modules form no circle."""

import ast
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from ray_jobs.cli.console import VERBS

ROOT = Path(__file__).parents[1]
ROOMS = ("submissions", "sweeps", "reports", "cli", "launch", "worker", "runs", "storage")
"""Of ray_jobs, from the top floor down; above them are the verbs."""


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for package in ("aign", "ray_jobs") for path in (ROOT / package).rglob("*.py")}


def imported_by(path: Path) -> set[str]:
    """Full names, of modules and of what is taken from them, wherever in the file the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules(names: Iterable[str]) -> set[str]:
    """Of imported names the project's modules that are meant."""
    return {name if name in MODULES else name.rpartition(".")[0] for name in names} & MODULES.keys()


IMPORTS = {module: imported_by(path) for module, path in MODULES.items()}


def floor(module: str) -> int:
    """0 for the verbs, then the rooms."""
    room = module.split(".")[1] if module.count(".") else ""
    return ROOMS.index(room) + 1 if room in ROOMS else 0


def jobs_imports() -> list[tuple[str, str]]:
    return [
        (module, other)
        for module, names in IMPORTS.items()
        if module.startswith("ray_jobs.")
        for other in modules(names)
        if other.startswith("ray_jobs.")
    ]


def test_no_arrow_goes_up_between_rooms():
    assert [(module, other) for module, other in jobs_imports() if floor(other) < floor(module)] == []


def test_the_top_of_ray_jobs_is_the_list_of_verbs():
    assert {path.stem for path in (ROOT / "ray_jobs").glob("*.py")} == {"__init__", *VERBS}
    assert {path.parent.name for path in (ROOT / "ray_jobs").glob("*/__init__.py")} == {*ROOMS}


@pytest.mark.parametrize("package", ["ray", "deepspeed", "ray_jobs"])
def test_the_library_knows_no_jobs(package):
    library = {module: names for module, names in IMPORTS.items() if module.split(".")[0] == "aign"}
    assert [module for module, names in library.items() if package in {name.split(".")[0] for name in names}] == []


def test_the_control_actor_waits_for_no_pytorch():
    """It passes events on; what they hold must not make it import what takes seconds."""
    reached, new = set(), {"ray_jobs.launch.control_actor"}
    while new:
        reached |= new
        new = {other for module in new for other in modules(IMPORTS[module])} - reached
    assert "ray_jobs.worker.events" in reached
    assert [module for module in reached if "torch" in {name.split(".")[0] for name in IMPORTS[module]}] == []


def test_no_circle():
    try:
        order = list(TopologicalSorter({module: modules(names) for module, names in IMPORTS.items()}).static_order())
    except CycleError as circle:
        raise AssertionError(f"circle: {circle.args[1]}") from None
    assert set(order) == MODULES.keys()
