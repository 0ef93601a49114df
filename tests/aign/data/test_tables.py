"""CSV tables as spreadsheets write them, and the rows that are refused by number."""

import pytest

from aign.data.tables import read_rows, read_table
from aign.errors import UserError


@pytest.mark.parametrize(
    "content",
    [
        b"file,x,mood\na.png,1.5,glad\nb.png,2,\n",
        b"\xef\xbb\xbf file , x , mood \r\na.png, 1.5 ,glad\r\n\r\nb.png,2,\r\n,,\r\n",
        b"file;x;mood\na.png;1,5;glad\nb.png;2;\n",
        b"file;x;mood\na.png;1.5;glad\nb.png;2;\n",
        b"file\tx\tmood\na.png\t1.5\tglad\nb.png\t2\t\n",
        "file,x,mood\na.png,1.5,glad\nb.png,2,\n".encode("utf-16"),
        b"file,x,mood,,\na.png,1.5,glad,,\nb.png,2,,,\n",
        b'file,x,mood\n"a.png",1.5,"glad"\nb.png,2,""\n',
    ],
)
def test_spreadsheets_of_all_kinds_are_read_alike(content):
    table = read_table(content, "t.csv", texts=("file",))
    assert table.columns.tolist() == ["file", "x", "mood"]
    assert table["x"].tolist() == [1.5, 2]
    assert table["file"].tolist() == ["a.png", "b.png"]
    assert table["mood"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"a,b\n1,2\n1,2,3\n", "t.csv, row 3"),
        (b"a,b\n1\n", "t.csv, row 2"),
        (b"a,b\n1,5,2,5\n", "t.csv, row 2"),
        (b"a,a\n1,2\n", "t.csv"),
        (b"a,b\n", "t.csv"),
        (b"", "t.csv"),
        (b"a,b\n1,\xff\n", "t.csv"),
        (b"a,b\n1," + b"x" * 131_073, "t.csv, row 2"),
        (b'a,b\n1,"x', "t.csv, row 2"),
    ],
)
def test_what_is_no_table_is_refused_with_the_row(content, value):
    with pytest.raises(UserError) as error:
        read_rows(content, "t.csv")
    assert error.value.value == value
    assert "\n" not in str(error.value)
