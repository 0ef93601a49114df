"""Image files, whole and strange."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def picture(
    width: int, height: int, *, shade: int = 0, mode: str = "RGB", kind: str = "PNG", **options: object
) -> bytes:
    """A small image file; different shades are different images."""
    image = Image.new("RGB", (width, height), (shade * 37 % 256, shade * 91 % 256, shade * 53 % 256))
    image.paste((255, 255, 255), (width // 4, height // 4, width // 2 + 1, height // 2 + 1))
    file = io.BytesIO()
    image.convert(mode).save(file, kind, **options)
    return file.getvalue()


def deep_grey(size: int) -> bytes:
    """A PNG file of 16 bits, as depth cameras write it."""
    file = io.BytesIO()
    Image.fromarray(np.full((size, size), 40_000, np.uint16)).save(file, "PNG")
    return file.getvalue()


def sized_png(width: int, height: int) -> bytes:
    """A PNG file that says how large it is and holds nothing: a bomb, if it is believed."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in ((b"IHDR", head), (b"IDAT", b""), (b"IEND", b"")))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def eps_that_runs(command: str) -> bytes:
    """PostScript that asks its interpreter to run a command."""
    return f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n(%pipe%{command}) (r) file\nshowpage\n".encode()
