"""JSON of a store or a disk, read into a stated shape."""

import math
from dataclasses import dataclass, field
from typing import NotRequired

import pytest
from pydantic import FiniteFloat
from typing_extensions import TypedDict

from aign.errors import UserError
from aign.stored import read_json


@dataclass(frozen=True, kw_only=True)
class Trial:
    number: int
    objective: float | None = None
    history: list[tuple[int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.number < 0:
            raise UserError("number", "below zero", "count from 0")


class Record(TypedDict):
    steps: int
    loss: NotRequired[FiniteFloat]


def test_what_fits_is_an_object_of_its_kind():
    assert read_json(b'{"number": 3, "history": [[1, 2]]}', "f", Trial) == Trial(number=3, history=[(1, 2.0)])
    assert math.isnan(read_json(b'{"number": 1, "objective": NaN}', "f", Trial).objective)
    assert read_json('{"steps": 1, "other": [null]}', "f", Record) == {"steps": 1, "other": [None]}
    assert read_json(b'{"a": "b"}', "f", dict[str, str]) == {"a": "b"}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", Trial),
        (b'{"number": 1', Trial),
        (b"\xff\xfe{}", Trial),
        (b'{"number": "\xe9"}', Trial),
        (b"[" * 50_000, Record),
        (b'{"steps": 1, "other": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", Record),
        (b"null", Record),
        (b"[]", Trial),
        (b"{}", Trial),
        (b'{"number": "1"}', Trial),
        (b'{"number": 1.5}', Trial),
        (b'{"number": 1e20}', Trial),
        (b'{"number": true}', Trial),
        (b'{"number": null}', Trial),
        (b'{"number": 1, "foreign": 2}', Trial),
        (b'{"number": 1, "objective": "nan"}', Trial),
        (b'{"number": 1, "history": [[1]]}', Trial),
        (b'{"steps": 1, "loss": NaN}', Record),
        (b'{"steps": 1, "loss": 1e999}', Record),
        (b'{"a": 1}', dict[str, str]),
        (b'{"a\\nb": 1}', dict[str, str]),
        (b'{"number": 1, "' + b"x" * 10_000 + b'": 2}', Trial),
    ],
)
def test_what_does_not_fit_is_one_line_about_the_file(content, kind):
    with pytest.raises(UserError) as refused:
        read_json(content, "runs/a/config.json", kind, "use another run")
    assert refused.value.value == "runs/a/config.json"
    assert refused.value.remedy == "use another run"
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 300


def test_the_field_is_named():
    with pytest.raises(UserError, match=r"history\.1\.0"):
        read_json(b'{"number": 1, "history": [[1, 2], ["x", 2]]}', "f", Trial)


def test_what_a_value_object_refuses_itself_is_passed_on():
    with pytest.raises(UserError) as refused:
        read_json(b'{"number": -1}', "f", Trial)
    assert refused.value.value == "number"
