"""CelebA: folders in its layout that these tests write, and CelebA where it is."""

import os

import pytest
import torch

from aign.data.celeba import load_celeba
from aign.errors import UserError

NAMES = "5_o_Clock_Shadow Male Young"
COUNT = 6


def lines(line, head=b""):
    """A list with the same line for every image."""
    return head + b"".join(b"%06d.jpg %s\n" % (number + 1, line) for number in range(COUNT))


@pytest.fixture
def celeba(tmp_path, dotted):
    """Writes CelebA with six images of 178 x 218, the nose of each at (90, 110 + its number)."""

    def write(*, anno="", evaluation="", images="", **replaced):
        root = tmp_path / "celeba"
        names = [f"{number:06d}.jpg" for number in range(1, COUNT + 1)]
        places = " ".join(
            f"{mark}_{axis}" for mark in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth") for axis in "xy"
        )
        lists = {
            f"{anno}list_attr_celeba.txt": [
                COUNT,
                f"{NAMES} ",
                *(f"{name}  1 {1 if i % 2 else -1}  1" for i, name in enumerate(names)),
            ],
            f"{anno}identity_CelebA.txt": [f"{name} {7 + i // 3}" for i, name in enumerate(names)],
            f"{anno}list_landmarks_align_celeba.txt": [
                COUNT,
                places,
                *(f"{name} 69 111 108 111 90 {111 + i} 72 152 108 152" for i, name in enumerate(names)),
            ],
            f"{evaluation}list_eval_partition.txt": [f"{name} {i // 2}" for i, name in enumerate(names)],
        }
        files = {path: "\n".join(map(str, lines)).encode() + b"\n" for path, lines in lists.items()}
        files |= {f"{images}img_align_celeba/{name}": dotted(178, 218, (90, 111 + i)) for i, name in enumerate(names)}
        for path, content in (files | replaced).items():
            if content is not None:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(content)
        return root

    return write


@pytest.mark.parametrize("layout", [{}, {"anno": "Anno/", "evaluation": "Eval/", "images": "Img/"}])
def test_reads_images_with_all_that_the_lists_say(celeba, layout):
    images = load_celeba(celeba(**layout), size=37, strict=True)
    assert images.pixels.shape == (COUNT, 3, 37, 37)
    assert images.table["split"].tolist() == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2
    assert images.where("Male == -1 and `5_o_Clock_Shadow` == 1").table["file"].tolist() == [
        "000001.jpg",
        "000003.jpg",
        "000005.jpg",
    ]
    assert len(images.where("identity == 8")) == 3
    for image, x, y in zip(images.pixels.int(), images.table["nose_x"], images.table["nose_y"], strict=True):
        red = image[0] - image[1]
        assert red[round(y), round(x)] > 80
        assert red[0, 0] < 30
    assert images.table["nose_x"][0] == pytest.approx((90 - 15 + 0.5) * 37 / 148 - 0.5)


def test_is_found_in_aign_data(celeba, monkeypatch):
    monkeypatch.setenv("AIGN_DATA", str(celeba().parent))
    assert len(load_celeba(size=8)) == COUNT


def test_identities_and_landmarks_may_be_missing(celeba):
    table = load_celeba(celeba(**{"identity_CelebA.txt": None, "list_landmarks_align_celeba.txt": None}), size=8).table
    assert list(table.columns) == ["file", *NAMES.split(), "split"]


def test_broken_and_missing_images_are_skipped(celeba, dotted):
    whole = dotted(178, 218, (90, 111))
    root = celeba(**{"img_align_celeba/000002.jpg": whole[:2000], "img_align_celeba/000005.jpg": None})
    images = load_celeba(root, size=8)
    assert images.table["file"].tolist() == ["000001.jpg", "000003.jpg", "000004.jpg", "000006.jpg"]
    assert [name for name, _ in images.skipped] == ["img_align_celeba/000002.jpg", "img_align_celeba/000005.jpg"]
    assert torch.equal(images.pixels, load_celeba(root, size=8).pixels)
    with pytest.raises(UserError, match=r"000002\.jpg: is a truncated"):
        load_celeba(root, size=8, strict=True)


@pytest.mark.parametrize(
    ("replaced", "reason"),
    [
        ({"list_attr_celeba.txt": None}, r"list_attr_celeba\.txt: no such file"),
        ({"list_eval_partition.txt": None}, r"list_eval_partition\.txt: no such file"),
        ({"list_attr_celeba.txt": b""}, r"list_attr_celeba\.txt: is not in CelebA's layout"),
        ({"list_attr_celeba.txt": lines(b"3", b"6\nMale\n")}, "holds values other than 1 and -1"),
        ({"list_attr_celeba.txt": b"1\nMale\n000001.jpg x\n"}, r"'x' for 000001\.jpg"),
        ({"list_attr_celeba.txt": b"1\nMale\n000001.jpg 1e30\n"}, r"'1e30' for 000001\.jpg"),
        ({"list_attr_celeba.txt": b"1\nMale\n000001.jpg \xe9\n"}, "is not UTF-8"),
        ({"list_eval_partition.txt": b"000001.jpg train\n"}, r"'train' for 000001\.jpg"),
        ({"list_eval_partition.txt": b"000001.jpg 7\n"}, r"lists other images than list_attr_celeba\.txt"),
        ({"list_eval_partition.txt": lines(b"7")}, "holds splits other than 0, 1 and 2"),
        ({"list_attr_celeba.txt": lines(b"1.5", b"6\nMale\n")}, r"'1\.5' for 000001\.jpg"),
        ({"identity_CelebA.txt": None, "identity_CelebA.txt/x": b""}, r"identity_CelebA\.txt: is a folder"),
        ({"list_landmarks_align_celeba.txt": lines(b"1 2", b"6\na b\n")}, "holds other landmarks"),
        ({f"img_align_celeba/{n:06d}.jpg": None for n in range(1, COUNT + 1)}, "img_align_celeba: no images there"),
    ],
)
def test_says_what_is_wrong(celeba, replaced, reason):
    with pytest.raises(UserError, match=reason):
        load_celeba(celeba(**replaced), size=8)


@pytest.mark.skipif(
    not os.path.isdir(os.path.join(os.environ.get("AIGN_DATA", ""), "celeba")), reason="no CelebA in AIGN_DATA"
)
def test_reads_the_real_one():
    images = load_celeba(size=32)
    assert len(images) + len(images.skipped) == 202_599
    assert len(images.where("Male == 1 and Young == -1")) > 10_000
