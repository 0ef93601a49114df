"""A user's own images, of exactly the size that a network was trained on, and names for what is made of them."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import torch
from jaxtyping import UInt8
from torch import Tensor

from aign.data.file_tree import FileTree, Unreadable
from aign.data.images import ImageSet
from aign.data.pictures import NotAPicture, listed_pictures, read_picture
from aign.data.skipped import Skipped, printable, skipped_line
from aign.errors import UserError


def read_user_images(path: Path, size: tuple[int, int, int]) -> ImageSet:
    """One image file, or all in a folder and its folders, in the order of their names, as they are.

    ``size`` is (channels, height, width), with one channel for grey and three for colours. What is called an image and
    cannot be read, or is of another size, is skipped. Raises UserError if none is left.
    """
    tree = FileTree(path)
    files, skipped = listed_pictures(tree)
    pixels: dict[str, Tensor] = {}
    for file in files:
        try:
            pixels[file] = _exact(tree.read(file), size)
        except (NotAPicture, Unreadable) as error:
            skipped.append(Skipped(file, error.reason))
    if not pixels:
        reason = skipped_line(skipped, "files were") if skipped else "holds no images"
        raise UserError(path, reason, "give a folder of .png, .jpg or other images")
    table = pd.DataFrame({"file": list(pixels), "split": "test"})
    return ImageSet(name=f"images of {path}", pixels=torch.stack([*pixels.values()]), table=table, skipped=(*skipped,))


def result_names(files: Sequence[str], taken: Iterable[str]) -> tuple[str, ...]:
    """A name for what is made of each file: its own without folders and suffix, or that with a number if it is taken.

    Names that differ only in the case of letters count as one, as they do on some disks.
    """
    used = {name.casefold() for name in taken}
    last: dict[str, int] = {}
    names = []
    for file in files:
        stem = name = printable(PurePosixPath(file).stem)
        while name.casefold() in used:
            last[stem] = last.get(stem, 1) + 1
            name = f"{stem}-{last[stem]}"
        used.add(name.casefold())
        names.append(name)
    return tuple(names)


def _exact(content: bytes, size: tuple[int, int, int]) -> UInt8[Tensor, "channels height width"]:
    channels, height, width = size
    image, found = read_picture(content)
    if found != (width, height):
        reason = f"is {found[0]} x {found[1]} pixels, the network was trained on {width} x {height}"
        raise NotAPicture(f"{reason}: crop and resize it")
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return pixels if channels == 3 else pixels.float().mean(0, keepdim=True).round().byte()
