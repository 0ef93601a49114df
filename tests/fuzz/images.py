"""Image files and folders of them as cameras, phones and synchronising programs leave them."""

import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import mutations, pixels, world
from tests.fuzz.case import Call, Field, Lay, command
from tests.fuzz.guard import canary

SIZE = 44
SMALL = SIZE // 4
"""What super-resolution observes, px."""

KINDS = {"L": "PNG", "1": "PNG", "P": "PNG", "CMYK": "JPEG", "I;16": "PNG", "LA": "PNG", "RGBA": "PNG"}
STRANGE_NAMES = ("._000.png", "😀.png", "a\nb.png", "-x.png", "a b.png", "A.PNG", ".png", "$(touch x).png")


def train(folder: Path, **about: Any) -> Call:
    """A dry run of training on the folder ``photos``, which decodes it."""
    return command("train", *world.FACES, "--dry-run", **about)


def predict(folder: Path, **about: Any) -> Call:
    """The images of ``mine``, sharpened."""
    world.copy("faces", folder)
    return command("predict", "runs/faces", "mine", results=("predictions",), **about)


def draw(random: Random, folder: Path) -> Call:
    if random.random() < 0.5:
        world.lay_photos(folder / "photos", world.NUM_PHOTOS, SIZE)
        for i in random.sample(range(world.NUM_PHOTOS), random.choice((1, 2, 5, world.NUM_PHOTOS))):
            _spoil(random, folder / "photos", f"{i:03d}.png", SIZE)
        if random.random() < 0.7:
            (folder / "photos" / "attributes.csv").unlink()
        return train(folder)
    world.lay_photos(folder / "mine", 3, SMALL)
    (folder / "mine" / "attributes.csv").unlink()
    for _ in range(random.choice((1, 2))):
        _spoil(random, folder / "mine", f"{random.randrange(3):03d}.png", SMALL)
    return predict(folder)


def _spoil(random: Random, folder: Path, name: str, size: int) -> None:
    """Damage one file, or put a strange one beside it."""
    path = folder / name
    if not path.is_file() or path.is_symlink():
        return
    match random.randrange(8):
        case 0:
            path.unlink()
            STRANGE_THINGS[random.choice(list(STRANGE_THINGS))](path)
        case 1:
            path.write_bytes(_other_mode(random, size))
        case 2:
            path.write_bytes(pixels.sized_png(*random.choice(((30_000, 30_000), (2**31 - 1, 2), (0, 5), (1, 1)))))
        case 3:
            path.write_bytes(pixels.picture(*random.choice(((1, 1), (1, 3000), (3000, 1), (size + 1, size)))))
        case 4:
            path.rename(os.path.join(folder, random.choice(STRANGE_NAMES)))
        case 5:
            path.rename(path.with_suffix(random.choice((".gif", ".heic", ".jfif", ".tif", ".JPG", ".txt", ""))))
        case _:
            path.write_bytes(mutations.damaged(random, path.read_bytes()))


def _other_mode(random: Random, size: int) -> bytes:
    mode = random.choice(list(KINDS))
    if mode == "I;16":
        return pixels.deep_grey(size)
    return pixels.picture(size, size, mode=mode, kind=KINDS[mode])


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere.png")


def _link_up(path: Path) -> None:
    path.symlink_to("..")


STRANGE_THINGS: dict[str, Callable[[Path], None]] = {
    "a pipe": lambda path: os.mkfifo(path),
    "a dangling link": _dangling,
    "a link to itself": _loop,
    "a link to its folder": _link_up,
    "a folder": lambda path: path.mkdir(),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


# --- what once went wrong ---------------------------------------------------------------------------------------------


def _among_photos(name: str, put: Callable[[Path], Any], **about: Any) -> Lay:
    """Something strange among sound images that are trained on."""

    def lay(folder: Path) -> Call:
        world.lay_photos(folder / "photos", world.NUM_PHOTOS, SIZE)
        (folder / "photos" / "attributes.csv").unlink()
        put(folder / "photos" / name)
        return train(folder, **about)

    return lay


def _among_mine(name: str, put: Callable[[Path], Any], count: int = 2, **about: Any) -> Lay:
    """Something strange among sound images that are inferred from."""

    def lay(folder: Path) -> Call:
        world.lay_photos(folder / "mine", count, SMALL)
        (folder / "mine" / "attributes.csv").unlink()
        put(folder / "mine" / name)
        return predict(folder, **about)

    return lay


def _content(data: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(data)


def _eps(folder: Path) -> Call:
    world.lay_photos(folder / "mine", 2, SMALL)
    (folder / "mine" / "attributes.csv").unlink()
    (folder / "mine" / "b.png").write_bytes(pixels.eps_that_runs(f"touch {canary(folder)}"))
    return predict(folder)


TRANSPARENT = pixels.picture(SMALL, SMALL, mode="RGBA")
CORPUS: dict[str, Lay] = {
    "whole": _among_photos("a.png", _content(pixels.picture(SIZE, SIZE, shade=99)), sound=True),
    "a dangling link among photos": _among_photos("a.png", _dangling, sound=True),
    "a link to itself among photos": _among_photos("a.png", _loop, sound=True),
    "a pipe among photos": _among_photos("a.png", STRANGE_THINGS["a pipe"], sound=True),
    "a device among photos": _among_photos("a.png", STRANGE_THINGS["a device"], sound=True),
    "a bomb among photos": _among_photos("a.png", _content(pixels.sized_png(30_000, 30_000)), sound=True),
    "a name that is no text": _among_photos("", lambda p: open(os.fsencode(p) + b"/\xff\xfe.png", "wb").close()),
    "own images": _among_mine("a.png", _content(pixels.picture(SMALL, SMALL)), sound=True),
    "a pipe among own images": _among_mine("a.png", STRANGE_THINGS["a pipe"], sound=True),
    "a dangling link among own images": _among_mine("a.png", _dangling, sound=True),
    "AppleDouble among own images": _among_mine("._000.png", _content(b"\0\x05\x16\x07" + b"\0" * 100), sound=True),
    "gif among own images": _among_mine("a.gif", _content(pixels.picture(SMALL, SMALL, kind="GIF")), sound=True),
    "heic among own images": _among_mine("a.heic", _content(mutations.OTHER_FORMATS["heic"]), sound=True),
    "a cut file among own images": _among_mine("a.png", _content(pixels.picture(SMALL, SMALL)[:60]), sound=True),
    "transparency": _among_mine("a.png", _content(TRANSPARENT)),
    "another size": _among_mine("a.png", _content(pixels.picture(9, 7))),
    "only a cut file": _among_mine("a.png", _content(pixels.picture(SMALL, SMALL)[:60]), 0, nonsense=True),
    "PostScript called png": _eps,
    "no images": _among_mine("a.txt", _content(b"hello"), 0, nonsense=True),
}

FIELDS = {"images": Field(draw, CORPUS)}
