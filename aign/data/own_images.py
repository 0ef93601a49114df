"""A person's own images, of exactly the size that a network was trained on."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from aign.data.image_files import is_image
from aign.errors import UserError


def read_own_images(path: Path, size: tuple[int, int, int]) -> UInt8[Tensor, "images channels height width"]:
    """One image file, or all that lie directly in a folder, in the order of their names, as they are.

    ``size`` is (channels, height, width), with one channel for grey and three for colours. Raises UserError for a path
    that is neither, a folder without images, a file that is truncated or no image, and one of another size.
    """
    files = [path] if path.is_file() else _in_folder(path)
    return torch.stack([_read(file, size) for file in files])


def _in_folder(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(folder, "no such file or folder", "give an image file or a folder of images")
    files = sorted(file for file in folder.iterdir() if file.is_file() and is_image(file.name))
    if not files:
        raise UserError(folder, "holds no images", "give a folder of .png, .jpg or other images")
    return files


def _read(file: Path, size: tuple[int, int, int]) -> UInt8[Tensor, "channels height width"]:
    try:
        with Image.open(file) as image:
            image.load()
            values = np.array(image.convert("RGB") if image.mode == "P" else image)
    except (
        Exception
    ) as error:  # Pillow's decoders raise errors of many kinds for files that are not what they should be
        reason = f"truncated or no image ({str(error) or type(error).__name__})"
        raise UserError(file, reason, "copy it again, or leave it out") from None
    channels, height, width = size
    values = values[:, :, None] if values.ndim == 2 else values
    if values.dtype != np.uint8 or values.shape[2] != channels:
        wanted = "8-bit grey" if channels == 1 else "8-bit RGB"
        reason = f"has {values.shape[2]} channels of {values.dtype}, the network was trained on {wanted} images"
        raise UserError(file, reason, f"save it as {wanted}, without transparency")
    if values.shape[:2] != (height, width):
        reason = f"is {values.shape[1]} x {values.shape[0]} pixels, the network was trained on {width} x {height}"
        raise UserError(file, reason, f"crop and resize it to {width} x {height}")
    return torch.from_numpy(values).permute(2, 0, 1)
