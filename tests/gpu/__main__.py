"""All that a GPU is needed for, in one table: ``python -m tests.gpu [--device auto|cpu|cuda] [--out gpu.md]``.

Needs the library's packages, pytest, beartype and DeepSpeed; parts that need more say so. On a CPU it is a dry run with
small sizes. The status is 1 if a part failed or ran out of its time.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from aign.device import choose_device
from aign.errors import UserError
from tests.gpu.parts import PARTS, run_parts
from tests.gpu.table import as_markdown

PATIENCE_WITH_CPU = 10
"""A dry run tells whether parts work, not how long they take."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description="What a GPU is needed for, in one table.")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cuda")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--minutes", type=float, default=8.0, help="how long all parts may take together on a GPU")
    parser.add_argument("--out", type=Path, help="Markdown file for the table")
    options = parser.parse_args(argv)
    try:
        device = choose_device(options.device)
    except UserError as error:
        parser.error(str(error))
    patience = 1 if device.type == "cuda" else PATIENCE_WITH_CPU
    parts = {name: replace(PARTS[name], seconds=patience * PARTS[name].seconds) for name in options.parts}
    began, rows = time.monotonic(), []
    for row in run_parts(parts, device, 60 * patience * options.minutes):
        print(f"{row.part}: {row.compared}: {row.result} {row.figure}", file=sys.stderr, flush=True)
        rows.append(row)
    table = as_markdown(rows, device, time.monotonic() - began)
    print(table)
    if options.out:
        options.out.write_text(table)
    return int(any(row.passed is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
