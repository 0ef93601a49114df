"""Small damage to a file of a checkpoint."""

import hashlib
import json
import re


def truncate(data: bytes) -> bytes:
    return data[: len(data) * 3 // 4]


def flip(data: bytes) -> bytes:
    """One bit in the middle is wrong."""
    return _flip_bit(data, len(data) // 2, 1)


def flip_number(data: bytes) -> bytes:
    """One bit in the number of generator updates is wrong, such that the file stays valid JSON."""
    found = re.search(rb'"generator_updates": \d*(\d)', data)
    if not found:
        raise ValueError("no number of generator updates")
    return _flip_bit(data, found.start(1), 1)  # 0 and 1, 2 and 3 ... 8 and 9 are one bit apart


def other_format(data: bytes) -> bytes:
    """The state.json of a sound checkpoint, as a later version of the program would write it."""
    state = json.loads(data) | {"format": 99}
    del state["sha256"]
    return json.dumps(
        state | {"sha256": hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()}
    ).encode()


def _flip_bit(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]
