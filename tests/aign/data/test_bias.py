"""Biases: what an expression over a table selects, and what is refused."""

import pandas as pd
import pytest

from aign.data.bias import selected
from aign.errors import UserError

TABLE = pd.DataFrame(
    {
        "Male": [1, -1, 1, -1],
        "age": [30.0, 60.0, 50.0, None],
        "identity": [17, 17, 3, 4],
        "split": ["train", "train", "test", "validation"],
        "5_o_Clock_Shadow": [1, 1, -1, -1],
    }
)


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("Male == -1", [1, 3]),
        (" Male == 1 and age > 40 ", [2]),
        ("Male == 1 or identity == 17", [0, 1, 2]),
        ("not (Male == 1 or identity == 17)", [3]),
        ("30 < age <= 60", [1, 2]),
        ("identity in (3, 4)", [2, 3]),
        ("identity not in [17]", [2, 3]),
        ("split == 'train' and Male != 1", [1]),
        ('split in ("test", "validation")', [2, 3]),
        ("`5_o_Clock_Shadow` == 1", [0, 1]),
        ("split == '`age`'", []),
        ("identity < age", [0, 1, 2]),
        ("not age > 55", [0, 2]),  # whose age is not known is neither old nor young
        ("age != 30", [1, 2]),
        ("age < 1e400 and Male == True", [0, 2]),
    ],
)
def test_selects(expression, rows):
    assert selected(expression, TABLE).nonzero()[0].tolist() == rows


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("Mal == 1", r"there is no column Mal; did you mean Male\?"),
        ("male == 1", r"there is no column male; did you mean Male\?"),
        ("Wings == 1", r"there is no column Wings; choose one of Male, age, identity, split, 5_o"),
        ("Male", r'Male is compared with nothing; write "Male == 1"'),
        ("Male and age > 3", "Male is compared with nothing"),
        ("age > 'old'", "column age and 'old' are not both numbers"),
        ("split == 1", "column split and 1 are not both numbers"),
        ("identity in 17", "in needs a list"),
        ("identity in ()", "in needs a list"),
        ("identity is 17", "compares with something other than"),
        ("Male = 1", "is not an expression"),
        ("", "is not an expression"),
        ("Male == 1; age == 2", "is not an expression"),
        ("(" * 5000, "is not an expression"),
        ("not " * 5000 + "Male == 1", "is not an expression"),
        ("5_o_Clock_Shadow == 1", "is not an expression"),
    ],
)
def test_refuses_in_one_line(expression, reason):
    with pytest.raises(UserError, match=reason) as error:
        selected(expression, TABLE)
    if len(expression) < 100:
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('touch x') == 0",
        "age.max() > 3",
        "age.__class__ == 3",
        "[x for x in (1, 2)] == 3",
        "(lambda: 1)() == 1",
        "age[0] == 1",
        "age + 1 > 3",
        "(x := 1) == 1",
        "f'{age}' == 'a'",
        "{} == {}",
    ],
)
def test_runs_nothing(expression, monkeypatch):
    monkeypatch.setattr("os.system", lambda *_: pytest.fail("ran"))
    with pytest.raises(UserError):
        selected(expression, TABLE)
