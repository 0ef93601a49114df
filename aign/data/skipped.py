"""What was left out of a user's data, and the line that tells of it."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

NUM_EXAMPLES = 3


class Skipped(NamedTuple):
    """A file or a person that was left out."""

    name: str
    reason: str
    """A verb phrase: "is empty"."""


def skipped_line(skipped: Sequence[Skipped], what: str) -> str:
    """How many were skipped, and an example for each of the most frequent reasons."""
    counts = Counter(item.reason for item in skipped)
    examples = {item.reason: item.name for item in reversed(skipped)}
    shown = [
        f"{printable(examples[reason])} {reason}" + (f" (and {count - 1:,} more)" if count > 1 else "")
        for reason, count in counts.most_common(NUM_EXAMPLES)
    ]
    return f"{len(skipped):,} {what} skipped: {'; '.join(shown)}{'; ...' if len(counts) > NUM_EXAMPLES else ''}"


def printable(name: str) -> str:
    """A file's name that any console and any UTF-8 file takes, whatever bytes it is made of."""
    return name.encode("utf-8", "backslashreplace").decode()
