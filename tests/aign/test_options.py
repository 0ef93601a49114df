"""Options check their values by their annotations."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen

from aign.errors import NotTrainable
from aign.options import CheckedOptions, bounds_in_words, in_words


@dataclass(frozen=True, kw_only=True)
class Options(CheckedOptions):
    whole: Annotated[int, Ge(1), Le(8)] = 2
    number: Annotated[float, Gt(0), Lt(1)] = 0.5
    maybe: Annotated[int, Ge(1)] | None = None
    pair: tuple[Annotated[float, Ge(0)], Annotated[float, Ge(0)]] = (0, 1)
    several: Annotated[tuple[Literal["one", "two"], ...], MinLen(1)] = ("one",)
    choice: Literal["cmu", "h36m"] = "cmu"
    stage: Literal[0, 1, 2] = 0
    yes: bool = False
    text: str = ""
    path: Path | None = None


WRONG = {
    "whole": [0, 9, 10**40, 1.0, True, "2", None, [1], float("nan")],
    "number": [0, 1, -1, float("nan"), float("inf"), -float("inf"), 10**400, True, "0.5", None],
    "maybe": [0, 1.5, "1"],
    "pair": [(0,), (0, -1), (0, 1, 2), (0, float("nan")), 0, "01", {0, 1}],
    "several": [(), ("three",), "one", ("one", 2)],
    "choice": ["CMU", "", 3, None],
    "stage": [3, -1, "1"],
    "yes": [0, 1, "True", None],
    "text": [3, None, b"a"],
    "path": ["a", 3],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_is_refused_by_name(name, value):
    with pytest.raises(NotTrainable) as refused:
        Options(**{name: value})
    assert refused.value.value.startswith(f"{name} = ")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


def test_every_kind_of_field_is_tried():
    assert WRONG.keys() == {field.name for field in dataclasses.fields(Options)}


def test_whole_numbers_do_for_numbers_and_lists_for_tuples():
    options = Options(pair=[1, 2], several=["two"])
    assert options == Options(pair=(1.0, 2.0), several=("two",))
    assert [type(value) for value in options.pair] == [float, float]


def test_a_misspelt_choice_is_asked_back():
    with pytest.raises(NotTrainable) as refused:
        Options(choice="CMU")
    assert "cmu" in refused.value.remedy
    assert "h36m" not in refused.value.remedy


@pytest.mark.parametrize(
    ("annotation", "words", "bounds"),
    [
        (Annotated[int, Ge(1), Le(8)], "a whole number from 1 to 8", "from 1 to 8"),
        (Annotated[float, Gt(0)] | None, "a number above 0", "above 0"),
        (
            tuple[Annotated[float, Ge(0), Lt(1)], ...],
            "values, each a number at least 0 and below 1",
            "at least 0 and below 1",
        ),
        (Literal["a", "b"], "one of a, b", ""),
        (str, "text", ""),
    ],
)
def test_what_an_option_takes_is_said(annotation, words, bounds):
    assert (in_words(annotation), bounds_in_words(annotation)) == (words, bounds)
