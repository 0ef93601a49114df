"""Keypoints as detectors, spreadsheets and people write them, given to ``predict``."""

import copy
import io
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz import mutations, world
from tests.fuzz.case import Call, Field, Lay, command
from tests.fuzz.guard import canary

JOINTS = (
    *("pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "spine", "thorax"),
    *("neck", "head", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist"),
)
STANDING = (
    *((320, 240), (302, 240), (300, 330), (298, 420), (338, 240), (340, 330), (342, 420), (320, 190), (320, 140)),
    *((320, 115), (320, 90), (350, 145), (360, 200), (365, 250), (290, 145), (280, 200), (275, 250)),
)
ODD_COORDINATES = ("x", "", [], {}, [1, 2], 10**400, float("nan"), float("inf"), -float("inf"), mutations.DEEP_MARK)
"""None of them is a coordinate, in whatever format."""


def people(count: int = 2) -> list:
    return [[[float(x + 3 * i), float(y)] for x, y in STANDING] for i in range(count)]


def as_csv(document: list, names: tuple[str, ...] = JOINTS) -> str:
    header = ",".join(f"{name}_{axis}" for name in names for axis in "xy")
    return "\n".join([header, *(",".join(str(v) for joint in person for v in joint) for person in document)]) + "\n"


def predict(folder: Path, name: str, content: bytes | str, **about: Any) -> Call:
    """The file, and the command that infers poses from it."""
    world.copy("pose", folder)
    data = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return command("predict", "runs/pose", name, results=("predictions",), **about)


def draw(random: Random, folder: Path) -> Call:
    kind = random.choice((odd_coordinate, bent_document, bent_document, odd_table, damaged_file, foreign_document))
    return kind(random, folder)


def odd_coordinate(random: Random, folder: Path) -> Call:
    document = people(1)  # of several, the others might be used
    document[0][random.randrange(17)][random.randrange(2)] = random.choice(ODD_COORDINATES)
    wrapped = random.choice(({"keypoints": document}, document))
    return predict(folder, "k.json", mutations.as_json(wrapped), nonsense=True)


def bent_document(random: Random, folder: Path) -> Call:
    return predict(folder, "k.json", mutations.as_json(mutations.bent(random, {"keypoints": people()})))


def odd_table(random: Random, folder: Path) -> Call:
    text = as_csv(people())
    lines = text.splitlines()
    match random.randrange(7):
        case 0:
            return predict(folder, "k.csv", mutations.other_encoding(random, text))
        case 1:  # a row that is shorter than the header
            lines[random.randint(1, 2)] = ",".join(lines[1].split(",")[: random.randrange(1, 33)])
            return predict(folder, "k.csv", "\n".join(lines), nonsense=True)
        case 2:  # one that is longer
            lines[random.randint(1, 2)] += ",1" * random.randint(1, 40)
            return predict(folder, "k.csv", "\n".join(lines), nonsense=True)
        case 3:
            cells = lines[1].split(",")
            cells[random.randrange(34)] = random.choice(("x", "", "nan", "inf", "1e999", "--", "1,5", "NULL"))
            return predict(folder, "k.csv", "\n".join([lines[0], ",".join(cells), lines[2]]), nonsense=True)
        case 4:
            return predict(folder, "k.csv", text.replace(",", random.choice((";", "\t", " , ", ",,"))))
        case 5:
            return predict(folder, "k.csv", lines[0].replace(random.choice(JOINTS), "nose") + "\n" + lines[1])
        case _:
            return predict(folder, "k.csv", mutations.reworded(random, text))


def damaged_file(random: Random, folder: Path) -> Call:
    as_text = random.random() < 0.5
    whole = as_csv(people()) if as_text else json.dumps({"keypoints": people()})
    suffix = random.choice(("json", "csv", "JSON", "txt", "npy", "pkl", "")) if not as_text else "csv"
    return predict(folder, f"k.{suffix}", mutations.damaged(random, whole.encode()))


def foreign_document(random: Random, folder: Path) -> Call:
    name = random.choice(list(FOREIGN))
    document = FOREIGN[name]()
    if random.random() < 0.5:
        document = mutations.bent(random, document)
    return predict(folder, "k.json", mutations.as_json(document))


# --- what other programs write ----------------------------------------------------------------------------------------


def _flat(count: int) -> list[float]:
    return [v for x, y in (STANDING * 9)[:count] for v in (float(x), float(y), 0.9)]


FOREIGN: dict[str, Callable[[], Any]] = {
    "OpenPose": lambda: {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": _flat(25)}]},
    "COCO results": lambda: [{"image_id": 1, "category_id": 1, "keypoints": _flat(17), "score": 0.9}],
    "COCO annotations": lambda: {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "keypoints": _flat(17), "num_keypoints": 17}],
        "categories": [{"id": 1, "name": "person"}],
    },
    "MMPose": lambda: {
        "meta_info": {"dataset_name": "coco"},
        "instance_info": [{"frame_id": 1, "instances": [{"keypoints": people(1)[0], "keypoint_scores": [0.9] * 17}]}],
    },
    "BODY_25": lambda: {"keypoints": [[[float(x), float(y)] for x, y in (STANDING * 2)[:25]]]},
    "confidences": lambda: {"keypoints": [[[*joint, 0.9] for joint in person] for person in people()]},
    "GeoJSON": lambda: {"type": "FeatureCollection", "features": []},
}


# --- what once went wrong ---------------------------------------------------------------------------------------------


def _document(document: Any, name: str = "k.json", **about: Any) -> Lay:
    return lambda folder: predict(folder, name, mutations.as_json(document), **about)


def _changed(change: Callable[[list], Any], **about: Any) -> Lay:
    def lay(folder: Path) -> Call:
        document = copy.deepcopy(people())
        change(document)
        return predict(folder, "k.json", mutations.as_json({"keypoints": document}), **about)

    return lay


def _content(name: str, content: bytes | str, **about: Any) -> Lay:
    return lambda folder: predict(folder, name, content, **about)


def _joint(value: Any) -> Callable[[list], Any]:
    return lambda document: document[1].__setitem__(5, value)


def _array(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _pickle(folder: Path) -> Call:
    class Runs:
        def __reduce__(self) -> tuple:
            return exec, (f"open({str(canary(folder))!r}, 'w')",)

    content = pickle.dumps(Runs()) if len(folder.parts) % 2 else _array(np.array([Runs()], dtype=object))
    return predict(folder, "k.pkl", content, nonsense=True)


def _folder_of_files(folder: Path) -> Call:
    call = predict(folder, "k.json", json.dumps(people()))
    (folder / "frames").mkdir()
    shutil.move(folder / "k.json", folder / "frames" / "k.json")
    return command("predict", "runs/pose", "frames", results=call.results)


def _pipe(folder: Path) -> Call:
    import os

    world.copy("pose", folder)
    os.mkfifo(folder / "k.json")
    return command("predict", "runs/pose", "k.json", nonsense=True)


CORPUS: dict[str, Lay] = {
    "whole": _document({"keypoints": people()}, sound=True),
    "only the list": _document(people(), sound=True),
    "csv": _content("k.csv", as_csv(people()), sound=True),
    "all joints at 0, 0": _document({"keypoints": [[[0.0, 0.0]] * 17]}, nonsense=True),
    "one of two is nobody": _changed(lambda d: d.__setitem__(0, [[0.0, 0.0]] * 17)),
    "all joints in one place": _document({"keypoints": [[[17.5, 4.0]] * 17]}, nonsense=True),
    "joints 1e-40 apart": _document({"keypoints": [[[i * 1e-40, 0.0] for i in range(17)]]}, nonsense=True),
    "one joint at 0, 0": _changed(_joint([0, 0])),
    "one joint is null": _changed(_joint(None)),
    "one coordinate is null": _changed(_joint([None, 1.0])),
    "a number of 400 digits": _changed(_joint([10**400, 1.0])),
    "nan": _changed(_joint([float("nan"), 1.0])),
    "1e30": _changed(_joint([1e30, 1.0])),
    "a joint too few": _changed(lambda d: d[1].pop(), nonsense=True),
    "nobody": _document({"keypoints": []}, nonsense=True),
    "null": _document(None, nonsense=True),
    "a number": _document(5, nonsense=True),
    "nested 50,000 deep": _document(mutations.DEEP_MARK, nonsense=True),
    "bools": _changed(_joint([True, False])),
    "npy": _content("k.npy", mutations.OTHER_FORMATS["npy"], nonsense=True),
    "npy called json": _content("k.json", mutations.OTHER_FORMATS["npy"], nonsense=True),
    "pickle": _pickle,
    "empty": _content("k.json", b"", nonsense=True),
    "empty csv": _content("k.csv", b"", nonsense=True),
    "NULs": _content("k.csv", b"\0" * 1000, nonsense=True),
    "UTF-16": _content("k.json", json.dumps({"keypoints": people()}).encode("utf-16")),
    "BOM": _content("k.csv", mutations.BOM + as_csv(people()).encode()),
    "spaces around names": _content("k.csv", as_csv(people()).replace(",", ", ")),
    "decimal commas": _content("k.csv", as_csv(people()).replace(".0", ",5"), nonsense=True),
    "rows longer than the header": _content("k.csv", as_csv(people()).replace(".0\n", ".0,1,2\n"), nonsense=True),
    "a short row": _content("k.csv", as_csv(people())[:-40], nonsense=True),
    "a cell of 200,000 characters": _content("k.csv", as_csv(people()) + "1" * 200_000, nonsense=True),
    "unicode digits": _content("k.csv", as_csv(people()).replace("3", "３")),
    "a folder": _folder_of_files,
    "a pipe": _pipe,
    **{
        name: (lambda folder, make=make: predict(folder, "k.json", json.dumps(make())))
        for name, make in FOREIGN.items()
    },
}

FIELDS = {"keypoints": Field(draw, CORPUS)}
