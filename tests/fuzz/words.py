"""Whether what a command said is for the person who called it, or about the program's insides."""

import re
from pathlib import Path

LANGUAGE = re.compile(
    r"""
      \b[A-Z]\w*(?:Error|Exception|Warning)\b(?!:\ an?\ )   # names of exceptions
    | NoneType | <class\ ' | \bobject\ at\ 0x | has\ no\ attribute | not\ subscriptable | not\ iterable
    | invalid\ literal\ for | could\ not\ convert | must\ be\ real\ number | unhashable | unexpected\ keyword
    | required\ (?:positional|keyword) | positional\ argument | not\ supported\ between | unsupported\ operand
    | object\ cannot\ be\ interpreted | expected\ sequence\ of | object\ is\ not | too\ many\ values\ to\ unpack
    | not\ enough\ values\ to\ unpack | index\ out\ of\ range | maximum\ recursion | codec\ can't | not\ in\ list
    | (?<=\ )\('[^']*'\)(?=;|$) | \[Errno | errno\ \d                 # what a KeyError or an OSError says of itself
    | Error\(s\)\ in\ loading | state_dict | size\ mismatch | Missing\ key | alloc_cpu | enforce\ fail
    | \btensors?\b.*\b(?:dimension|sequence|shape)\b | \btorch\. | \bnumpy\. | linalg\. | ndarray | dtype
    | overflow | inhomogeneous | cannot\ reshape | broadcast
    | 0x[0-9a-f]{6,}
    """,
    re.VERBOSE,
)
"""Python's, PyTorch's and NumPy's own words."""
LINE = re.compile(r"error: .+: .+; .+", re.DOTALL)
WARNING = re.compile(r":\d+: \w*Warning: ")


def fault_in(stderr: str, *, refused: bool, hidden: Path) -> str:
    """What is wrong with the lines that a command wrote; nothing if they are as they should be.

    Lines before the error are notes for a person. ``hidden`` is a folder that the person does not know of.
    """
    lines = [line for line in stderr.splitlines() if line.strip()]
    if any(WARNING.search(line) for line in lines):
        return "a warning of Python's"
    if str(hidden) in stderr or "aign-read-" in stderr or "aign-resume-" in stderr:
        return "a temporary path"
    if not refused:
        return ""
    errors = [line for line in lines if line.startswith("error: ")]
    if len(errors) != 1 or lines[-1:] != errors or not LINE.fullmatch(errors[0]):
        return "not one line of value, reason and remedy"
    found = LANGUAGE.search(errors[0])
    return f"words of the program's ({found[0].strip()})" if found else ""
