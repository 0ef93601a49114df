"""What has been done of a soak, so that the same command goes on with the next fault."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Outcome = Literal["held", "lost", "failed"]
"""``failed``: something else than a loss was not as it should be."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """How a run took a fault."""

    number: int
    kind: str
    run: str
    workers: int
    outcome: Outcome
    lost: int
    """Committed steps that had to be done again."""
    seconds: float
    text: str

    def __str__(self) -> str:
        about = f"{self.number:3d}  {self.run}  {self.kind:24} {self.outcome:6} lost {self.lost}"
        return f"{about}  {self.seconds:5.1f} s  {self.text}"


@dataclass(frozen=True, kw_only=True)
class End:
    """How a run ended after its faults."""

    run: str
    weights: str
    problems: list[str]

    def __str__(self) -> str:
        return f"     {self.run}  {'; '.join([f'ended with {self.weights}', *self.problems])}"


class Journal:
    """A file of JSON lines: what the soak is, then its entries and the ends of its runs."""

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        """Begin a journal, or go on with one. Raises ValueError if that is of another soak."""
        self.path = path
        self.entries: list[Entry] = []
        self.ends: list[End] = []
        if not path.exists() or not path.read_bytes():
            self.about = dict(about)
            self._append(self.about)
            return
        self.about, *done = (json.loads(line) for line in path.read_text().splitlines())
        if other := [name for name, value in about.items() if name != "prefix" and self.about.get(name) != value]:
            raise ValueError(f"{path} is of a soak with another {' and '.join(other)}")
        for line in done:
            self._keep(Entry(**line) if "number" in line else End(**line))

    def add(self, done: Entry | End) -> None:
        self._keep(done)
        self._append(dataclasses.asdict(done))

    def _keep(self, done: Entry | End) -> None:
        if isinstance(done, Entry):
            self.entries.append(done)
        else:
            self.ends.append(done)

    def _append(self, line: Mapping[str, Any]) -> None:
        with self.path.open("a") as file:
            print(json.dumps(line), file=file)
