"""Run an experiment, record what it measured, and fill the tables: ``python -m docs.record_results demo``.

A record holds the commands, the date, the commit and the machine beside the evaluation. Without an argument only the
tables of README and docs are made again from the records.
"""

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aign.evaluation.result import columns_of, measured_on

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "docs" / "results"
PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md")
EXPERIMENTS = {
    "demo": (
        "aign train pose --preset aign --steps 2000 --workers 2 --storage runs --name demo",
        "aign evaluate runs/demo --json demo.json",
    ),
}
"""Commands by experiment; the last one writes the evaluation to NAME.json."""
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", flags=re.S)


def record(name: str) -> None:
    """Run the commands of an experiment and write its record."""
    for command in EXPERIMENTS[name]:
        subprocess.run([str(Path(sys.executable).parent / "aign"), *shlex.split(command)[1:]], check=True)
    measured = Path(f"{name}.json")
    about = {
        "commands": EXPERIMENTS[name],
        "date": datetime.now(UTC).date().isoformat(),
        "commit": subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip(),
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()}, {platform.system()}), no GPU",
        "versions": {package: version(package) for package in ("torch", "ray", "deepspeed")},
        "seeds": [0],
    }
    (RECORDS / measured.name).write_text(json.dumps(about | json.loads(measured.read_text()), indent=1) + "\n")
    measured.unlink()


def with_tables(page: str) -> str:
    """A page whose tables are those of the records."""
    return _TABLE.sub(lambda match: f"{match[1]}{table(_read(match[2]))}{match[3]}", page)


def table(record: dict[str, Any]) -> str:
    """Metrics beside their baselines, and what they were measured on."""
    columns = columns_of(record)
    lines = [f"| metric | {' | '.join(columns)} |", f"|---{'|---' * len(columns)}|"]
    for metric in record["metrics"]:
        cells = (f"{values[metric]:.1f}" if metric in values else "" for values in columns.values())
        lines.append(f"| `{metric}` | {' | '.join(cells)} |")
    where = f"seed {record['seeds'][0]}, {record['date']}, commit {record['commit'][:7]}, {record['machine']}"
    return "\n".join([*lines, "", f"Measured on {measured_on(record)}; {where}.", ""])


def _read(name: str) -> dict[str, Any]:
    return json.loads((RECORDS / f"{name}.json").read_text())


if __name__ == "__main__":
    for experiment in sys.argv[1:]:
        record(experiment)
    for path in PAGES:
        path.write_text(with_tables(path.read_text()))
