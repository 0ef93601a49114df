"""Small changes to sound inputs: to bytes, to texts, to trees as JSON has them."""

import copy
import json
from random import Random
from typing import Any

BOM = b"\xef\xbb\xbf"
OTHER_FORMATS = {
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "gif": b"GIF89a\x01\0\x01\0\0\0\0;",
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "zip": b"PK\x03\x04\x14\0\0\0\x08\0",
    "pdf": b"%PDF-1.7\n1 0 obj\n",
    "npy": b"\x93NUMPY\x01\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (1, 17, 2), }\n",
    "pickle": b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x05hello\x94.",
    "html": b"<!doctype html><html><body>Sign in</body></html>",
    "utf-16": "keypoints".encode("utf-16"),
    "git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
}
ODD_NUMBERS = (-1, 0, 2.5, 1e30, -1e30, 1e308, 10**25, 10**400, float("nan"), float("inf"), -float("inf"), True)
ODD_TEXTS = ("", " ", "x", "1", "１", "²", "٣", "1_0", "0x10", "1e400", "nan", "-0", "\0", "\n", "😀", "a" * 5000)
ODD_VALUES = (None, *ODD_NUMBERS, *ODD_TEXTS, [], {}, [[]], [None], {"a": None}, {"": {}})
DEEP = "[" * 50_000 + "]" * 50_000
DEEP_MARK = "@deep@"


def as_json(tree: Any) -> str:
    """JSON text; ``DEEP_MARK`` becomes 50,000 nested lists, which no library would write."""
    return json.dumps(tree).replace(f'"{DEEP_MARK}"', DEEP)


def bent(random: Random, tree: Any, times: int | None = None) -> Any:
    """A copy of a tree with one to three values replaced, left out, put in or wrapped."""
    holder = [copy.deepcopy(tree)]
    for _ in range(times or random.choice((1, 1, 1, 2, 3))):
        _bend(random, holder)
    return holder[0]


def _bend(random: Random, holder: list) -> None:
    inner, key = _place(random, holder)
    match random.randrange(8):
        case 0 if inner is not holder:
            del inner[key]
        case 1:
            inner[key] = [inner[key]]
        case 2:
            inner[key] = {"x": inner[key]}
        case 3:
            inner[key] = DEEP_MARK
        case 4 if isinstance(inner[key], dict):
            inner[key][random.choice(("x", "", "😀", "__class__"))] = random.choice(ODD_VALUES)
        case 5 if isinstance(inner[key], list) and inner[key]:
            inner[key] = inner[key][: random.randrange(len(inner[key]))]
        case _:
            inner[key] = random.choice(ODD_VALUES)


def _place(random: Random, holder: list) -> tuple[Any, Any]:
    """Somewhere in a tree, high up as often as deep down."""
    inner, key = holder, 0
    while isinstance(inner[key], list | dict) and inner[key] and random.random() < 0.75:
        inner = inner[key]
        key = random.choice(list(inner)) if isinstance(inner, dict) else random.randrange(len(inner))
    return inner, key


def damaged(random: Random, data: bytes) -> bytes:
    """Bytes as a broken disk, a cut connection or another program leaves them."""
    size = max(1, len(data))
    start = random.randrange(size)
    match random.randrange(9):
        case 0:
            return b""
        case 1:
            return data[:start]
        case 2:
            return data[start:]
        case 3:
            return data[:start] + bytes([random.randrange(256)]) * random.randint(1, 64) + data[start + 64 :]
        case 4:
            return data[:start] + b"\0" * random.randint(1, 4096) + data[start:]
        case 5:
            return random.choice(list(OTHER_FORMATS.values()))
        case 6:
            return random.randbytes(random.randint(1, 2000))
        case 7:
            flipped = bytearray(data)
            for _ in range(min(size, random.randint(1, 8))):
                if flipped:
                    flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
            return bytes(flipped)
        case _:
            return data * random.randint(2, 3)


def reworded(random: Random, text: str, words: tuple[str, ...] = ()) -> str:
    """A spelling with one to three changes of its characters and parts."""
    for _ in range(random.choice((1, 1, 2, 3))):
        start = random.randrange(len(text) + 1)
        end = min(len(text), start + random.randint(0, 4))
        put_in = random.choice((*ODD_TEXTS[:-1], *map(str, ODD_NUMBERS[:9]), *":,=|{}()[]'\"`-+*/;$", *words))
        text = random.choice((text[:start] + put_in + text[end:], text[:start] + text[end:], text + text[start:end]))
    return text.replace("\0", "")  # no argument of a process can hold one


def other_encoding(random: Random, text: str) -> bytes:
    """A text as editors and spreadsheets save it."""
    return random.choice(
        (
            BOM + text.encode(errors="replace"),
            text.encode("utf-16"),
            text.replace("\n", "\r\n").encode(),
            text.replace("\n", "\r").encode(),
            text.encode("latin-1", "replace") + b"\xe9\xff",
        )
    )
