"""Tables beside images: attributes, landmarks, CelebA's lists, and what a bias says about them."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import mutations, pixels, world
from tests.fuzz.case import Call, Field, Lay, command, command_after_dry_run

LANDMARKS = tuple(
    f"{name}_{axis}" for name in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth") for axis in "xy"
)
FACE = (10, 12, 22, 12, 16, 17, 11, 23, 21, 23)
ODD_CELLS = (
    "",
    "x",
    "nan",
    "inf",
    "1e999",
    "1,5",
    '"',
    "NULL",
    "-1.5",
    "9" * 400,
    "train",
    "../../etc/passwd",
    "😀",
    "１",
)
TRAIN = ("train", *world.FACES)
COUNT = world.NUM_PHOTOS


def table(*, landmarks: bool = False) -> list[list[str]]:
    """Header and rows for the photos, 000.png and so on."""
    rows = [["file", "identity", "split", "Male", "Smiling", "age", *(LANDMARKS if landmarks else ())]]
    for i in range(COUNT):
        split = {0: "validation", 1: "test"}.get(i % 10, "train")
        known = [f"{i:03d}.png", i, split, i % 2 * 2 - 1, 1 if i % 3 else -1, 20 + i, *(FACE if landmarks else ())]
        rows.append([str(value) for value in known])
    return rows


def as_csv(rows: list[list[str]]) -> str:
    return "\n".join(",".join(row) for row in rows) + "\n"


def beside_photos(folder: Path, content: bytes | str, *words: str, **about: Any) -> Call:
    """A table beside photos, and the dry run that reads both."""
    world.lay_photos(folder / "photos", COUNT)
    data = content.encode() if isinstance(content, str) else content
    (folder / "photos" / "attributes.csv").write_bytes(data)
    return command(*TRAIN, *words, "--dry-run", **about)


def draw_table(random: Random, folder: Path) -> Call:
    rows = table(landmarks=random.random() < 0.3)
    if random.random() < 0.15:
        return beside_photos(folder, mutations.damaged(random, as_csv(rows).encode()))
    if random.random() < 0.15:
        return beside_photos(folder, mutations.other_encoding(random, as_csv(rows)))
    for _ in range(random.choice((1, 1, 2, 3))):
        _bend(random, rows)
    words = random.choice(
        ((), (), ("--bias", "Male == 1"), ("--bias", "age > 30"), ("--judge-attribute", "Smiling == 1"))
    )
    return beside_photos(folder, as_csv(rows), *words)


def _bend(random: Random, rows: list[list[str]]) -> None:
    row, column = random.randrange(len(rows)), random.randrange(len(rows[0]) or 1)
    match random.randrange(7):
        case 0:
            for cells in rows:
                del cells[column : column + 1]
        case 1:
            for cells in rows[1:]:
                cells[column : column + 1] = [random.choice(ODD_CELLS)]
        case 2:
            rows.insert(row, list(rows[row]))
        case 3:
            rows[row] += ["1"] * random.randint(1, 3)
        case 4:
            del rows[row][random.randrange(len(rows[row]) or 1) :]
        case 5 if len(rows) > 1:
            del rows[row]
        case _ if rows[row]:
            rows[row][column % len(rows[row])] = random.choice(ODD_CELLS)
    if not rows:
        rows.append(["file"])


# --- CelebA -----------------------------------------------------------------------------------------------------------

NAMES = tuple(f"{i:06d}.jpg" for i in range(1, COUNT + 1))


def celeba_lists() -> dict[str, list[str]]:
    """The lists of some images, in CelebA's layout, by name, a line each."""
    return {
        "list_attr_celeba.txt": [str(COUNT), "Male Young", *(f"{n} {i % 2 * 2 - 1} 1" for i, n in enumerate(NAMES))],
        "list_eval_partition.txt": [f"{name} {0 if i % 10 > 1 else i % 10 + 1}" for i, name in enumerate(NAMES)],
        "identity_CelebA.txt": [f"{name} {i}" for i, name in enumerate(NAMES)],
        "list_landmarks_align_celeba.txt": [
            str(COUNT),
            " ".join(LANDMARKS),
            *(f"{name} {' '.join(str(5 * v) for v in FACE)}" for name in NAMES),
        ],
    }


def beside_celeba(folder: Path, lists: dict[str, bytes | None], **about: Any) -> Call:
    source = folder / "celeba"
    (source / "img_align_celeba").mkdir(parents=True)
    for i, name in enumerate(NAMES):
        (source / "img_align_celeba" / name).write_bytes(pixels.picture(178, 218, shade=i, kind="JPEG"))
    for name, content in lists.items():
        if content is None:
            (source / name).mkdir()
        else:
            (source / name).write_bytes(content)
    words = ["celeba" if word in ("folder", "photos") else word for word in TRAIN]
    return command(*words, "--dry-run", **about)


def draw_celeba(random: Random, folder: Path) -> Call:
    lists = celeba_lists()
    changed: dict[str, bytes | None] = {name: "\n".join(lines).encode() + b"\n" for name, lines in lists.items()}
    name = random.choice(list(lists))
    lines = lists[name]
    row = random.randrange(len(lines))
    match random.randrange(7):
        case 0:
            del changed[name]
        case 1:
            changed[name] = mutations.damaged(random, changed[name] or b"")
        case 2:
            changed[name] = mutations.other_encoding(random, "\n".join(lines))
        case 3:
            del lines[row]
            changed[name] = "\n".join(lines).encode()
        case 4:
            lines[row] += random.choice((" 1", " x", "\t", " 1.5", ",1"))
            changed[name] = "\n".join(lines).encode()
        case _:
            words = lines[row].split(" ")
            words[random.randrange(len(words))] = random.choice(ODD_CELLS)
            lines[row] = " ".join(words)
            changed[name] = "\n".join(lines).encode()
    return beside_celeba(folder, changed)


# --- bias -------------------------------------------------------------------------------------------------------------

EXPRESSIONS = (
    "Male == -1 and Young == 1",
    "age > 30",
    "not (Male == 1)",
    "identity in (1, 2)",
    "`5_o` == 1 or age < 3",
)
WORDS = (
    "Male",
    "__import__('os')",
    "lambda: 0",
    "and",
    "not",
    "in",
    "==",
    "age.__class__",
    "f'{age}'",
    "(yield)",
    "**",
)


def draw_bias(random: Random, folder: Path) -> Call:
    """A bias over a table of few rows: reading images takes longer than reading it."""
    return bias(mutations.reworded(random, random.choice(EXPRESSIONS), WORDS))(folder)


def bias(expression: Any, **about: Any) -> Lay:
    def lay(folder: Path) -> Call:
        import pandas as pd

        from aign.data.bias import selected
        from tests.fuzz.case import function

        known = pd.DataFrame({"Male": [1, -1], "Young": [1, 1], "age": [20.0, None], "identity": [1, 2], "5_o": [1, 1]})
        return function(selected, expression, known, shown=f"the bias {expression!r:.300}", **about)

    return lay


# --- what once went wrong ---------------------------------------------------------------------------------------------


def _changed(change: Callable[[list[list[str]]], Any], *words: str, landmarks: bool = False, **about: Any) -> Lay:
    def lay(folder: Path) -> Call:
        rows = table(landmarks=landmarks)
        change(rows)
        return beside_photos(folder, as_csv(rows), *words, **about)

    return lay


def _column(name: str, cell: Callable[[str], str]) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        column = rows[0].index(name)
        for row in rows[1:]:
            row[column] = cell(row[column])

    return change


def _labels_0_1(folder: Path) -> Call:
    rows = table()
    _column("Smiling", lambda cell: str(int(cell == "1")))(rows)
    beside_photos(folder, as_csv(rows))
    words = [*TRAIN, "--steps", "2", "--name", "new", "--judge-attribute", "Smiling == 1"]
    return command_after_dry_run(*words, results=("runs/new",))


def _celeba(**replaced: bytes | None) -> Lay:
    def lay(folder: Path) -> Call:
        lists = {name: "\n".join(lines).encode() + b"\n" for name, lines in celeba_lists().items()}
        return beside_celeba(
            folder, lists | {f"{name}.txt": content for name, content in replaced.items()}, nonsense=True
        )

    return lay


def _attributes(cell: str) -> bytes:
    return "\n".join([str(COUNT), "Male Young", *(f"{name} {cell} 1" for name in NAMES)]).encode()


TABLES: dict[str, Lay] = {
    "whole": _changed(lambda rows: None, sound=True),
    "BOM": lambda folder: beside_photos(folder, mutations.BOM + as_csv(table()).encode(), sound=True),
    "an identity is empty": _changed(lambda rows: rows[3].__setitem__(1, "")),
    "no identity anywhere": _changed(_column("identity", lambda cell: "")),
    "landmarks are infinite": _changed(_column("nose_x", lambda cell: "inf"), landmarks=True),
    "landmarks are texts": _changed(_column("nose_x", lambda cell: "left"), landmarks=True, nonsense=True),
    "labels of 0 and 1, judged": _labels_0_1,
    "a sought column is not there": _changed(lambda rows: None, "--judge-attribute", "Nope == 1", nonsense=True),
    "a biased column is not there": _changed(lambda rows: None, "--bias", "Nope == 1", nonsense=True),
    "files of another ending": _changed(_column("file", lambda cell: cell.replace(".png", ".jpg"))),
    "files with ./": _changed(_column("file", lambda cell: f"./{cell}")),
    "files with a backslash": _changed(_column("file", lambda cell: f".\\{cell}")),
    "files in capitals": _changed(_column("file", str.upper)),
    "files above the folder": _changed(_column("file", lambda cell: f"../photos/{cell}")),
    "no file column": _changed(lambda rows: rows[0].__setitem__(0, "filename"), nonsense=True),
    "a file twice": _changed(lambda rows: rows.append(rows[3]), nonsense=True),
    "another split": _changed(lambda rows: rows[3].__setitem__(2, "dev"), nonsense=True),
    "only a header": _changed(lambda rows: rows.__delitem__(slice(1, None)), nonsense=True),
    "empty": lambda folder: beside_photos(folder, b"", nonsense=True),
    "NULs": lambda folder: beside_photos(folder, b"\0" * 500, nonsense=True),
    "a cell of a million characters": _changed(lambda rows: rows[2].__setitem__(5, "9" * 1_000_000)),
}
CELEBA: dict[str, Lay] = {
    "attributes of 1.5": _celeba(list_attr_celeba=_attributes("1.5")),
    "attributes of 0": _celeba(list_attr_celeba=_attributes("0")),
    "an optional list is a folder": _celeba(identity_CelebA=None),
    "a list is a folder": _celeba(list_eval_partition=None),
    "an empty list": _celeba(list_attr_celeba=b""),
    "a list of other images": _celeba(identity_CelebA=b"x.jpg 1\n"),
    "identities are text": _celeba(identity_CelebA="\n".join(f"{name} x" for name in NAMES).encode()),
}
BIAS: dict[str, Lay] = {
    "whole": bias("Male == -1 and Young == 1", sound=True),
    "code": bias("__import__('os').system('true') == 0", nonsense=True),
    "an f-string": bias("f'{age}' == '1'", nonsense=True),
    "deep": bias("(" * 50_000 + "age > 1" + ")" * 50_000, nonsense=True),
    "deep not": bias("not " * 5000 + "age > 1"),
    "empty": bias("", nonsense=True),
    "a column alone": bias("Male", nonsense=True),
    "a number and a text": bias("age == 'x'", nonsense=True),
    "an assignment": bias("(a := 1) == 1", nonsense=True),
    "a number of 5000 digits": bias("age == " + "9" * 5000),
    "NUL": bias("age == \0", nonsense=True),
}

FIELDS = {
    "tables": Field(draw_table, TABLES),
    "celeba": Field(draw_celeba, CELEBA),
    "bias": Field(draw_bias, BIAS),
}
