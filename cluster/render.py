"""Write the files of all clusters from ``templates/``: ``python -m cluster.render`` after a change of settings.toml.

A tool for the person who starts clusters; nothing that runs on one imports it.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).parent
TEMPLATES = HERE / "templates"
SHARED = "_"
"""How the names of templates begin that are parts of others."""
SHARE_FOR_WORKERS = 0.7
"""Of a machine's memory; the rest is Ray's own, for objects."""


def render() -> dict[str, str]:
    """The text of every file, by its path in this folder."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    names = environment.list_templates(filter_func=lambda name: not name.startswith(SHARED))
    return {name: environment.get_template(name).render(values()) for name in names}


def values() -> dict[str, Any]:
    """What templates may use: all of settings.toml, each node with its machines, and the versions."""
    settings = tomllib.loads((HERE / "settings.toml").read_text())
    machines = settings.pop("machines")
    for node in settings["nodes"].values():
        node.setdefault("spot", False)
        node["machines"] = {cloud: {"name": node[cloud], **machines[node[cloud]]} for cloud in ("aws", "gcp")}
        for machine in node["machines"].values():
            machine["memory"] = int(machine["memory_gib"] * 2**30 * SHARE_FOR_WORKERS)
        node["gpus"] = node["machines"]["aws"]["gpus"]
    workers = {name: node for name, node in settings["nodes"].items() if name != "head"}
    return {
        **settings,
        "workers": workers,
        "most_workers": sum(node["most"] for node in workers.values()),
        "ray_version": pinned_version("ray"),
        "version": tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["version"],
    }


def pinned_version(package: str) -> str:
    """The version of a package in requirements.txt."""
    found = re.search(rf"^{package}==(\S+)$", (HERE.parent / "requirements.txt").read_text(), re.MULTILINE)
    if not found:
        raise KeyError(f"requirements.txt pins no {package}")
    return found[1]


def main() -> None:
    for name, text in render().items():
        (HERE / name).write_text(text)


if __name__ == "__main__":
    main()
