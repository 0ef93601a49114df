"""Draws faces: every shape is a signed distance over the pixel grid, with edges one pixel soft."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from aign.data.images import LANDMARKS

Numbers = dict[str, Float[Tensor, " faces"]]
"""What a face is made of, one number a face each. Lengths are in halves of the image's width, angles in radians."""
Colours = dict[str, Float[Tensor, "faces 3"]]
"""What a face is painted with, 0 to 1: skin, hair, lips, ..., and both ends of the background."""

_CHUNK = 32
"""Faces drawn at once: few enough for a processor's cache."""


def draw_faces(numbers: Numbers, colours: Colours, size: int) -> UInt8[Tensor, "faces 3 size size"]:
    """Pixels of the faces. Every face is drawn by itself: its pixels do not depend on the others."""
    count = len(numbers["scale"])
    pixels = torch.empty(count, 3, size, size, dtype=torch.uint8)
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        chunk = _Face(
            {name: value[part, None, None] for name, value in numbers.items()},
            {name: value[part, :, None, None] for name, value in colours.items()},
            size,
        )
        pixels[part] = chunk.drawn()
    return pixels


def landmarks_px(numbers: Numbers, size: int) -> dict[str, Float[Tensor, " faces"]]:
    """Columns of the landmarks (``aign.data.images.LANDMARKS``): where they are in the drawn images, in pixels."""
    n = numbers
    x, y = n["turn"], n["eye_y"]
    places = (
        (x - n["eye_apart"], y),
        (x + n["eye_apart"], y),
        (x * _NOSE_OUT, n["nose_y"]),
        (x - n["mouth_width"], n["mouth_y"] - n["smile"]),
        (x + n["mouth_width"], n["mouth_y"] - n["smile"]),
    )
    cos, sin = n["scale"] * n["tilt"].cos(), n["scale"] * n["tilt"].sin()
    columns = {}
    for name, (x, y) in zip(LANDMARKS, places, strict=True):
        columns[f"{name}_x"] = (n["shift_x"] + cos * x - sin * y + 1) / 2 * size - 0.5
        columns[f"{name}_y"] = (n["shift_y"] + sin * x + cos * y + 1) / 2 * size - 0.5
    return columns


_NOSE_OUT = 1.35
"""The nose stands out of the face: it moves further when the head turns."""


@dataclass
class _Face:
    """Some faces on their way from the background to the glasses.

    Numbers are (faces, 1, 1), colours (faces, 3, 1, 1).
    """

    n: dict[str, Tensor]
    colour: dict[str, Tensor]
    size: int

    def __post_init__(self) -> None:
        n = self.n
        grid = (torch.arange(self.size) + 0.5) * 2 / self.size - 1
        u, v = grid[None, None, :] - n["shift_x"], grid[None, :, None] - n["shift_y"]
        cos, sin = n["tilt"].cos() / n["scale"], n["tilt"].sin() / n["scale"]
        self.x, self.y = cos * u + sin * v, cos * v - sin * u
        self.fx = self.x - n["turn"]  # from the middle of the features
        self.side = self.fx.abs()  # they are symmetric
        self.pixel = 2 / self.size / n["scale"]
        along = (0.5 + 0.5 * (n["back_cos"] * grid[None, None, :] + n["back_sin"] * grid[None, :, None])).clamp(0, 1)
        self.image = torch.lerp(self.colour["back"], self.colour["back_end"], along[:, None])

    def drawn(self) -> UInt8[Tensor, "faces 3 size size"]:
        head = self.head()
        self.behind()
        self.skin(head)
        self.age(head)
        self.nose()
        self.beard(head)
        self.mouth()
        self.eyes()
        self.fringe()
        self.glasses()
        return self.lit().mul_(255).round_().clamp_(0, 255).to(torch.uint8)

    # --- brushes -----------------------------------------------------------------------------------------------------

    def cover(self, distance: Tensor) -> Tensor:
        """How much of each pixel lies inside: 1 half a pixel within the edge, 0 half a pixel outside."""
        return (0.5 - distance / self.pixel).clamp_(0, 1)

    def paint(self, cover: Tensor, colour: Tensor) -> None:
        self.image.lerp_(colour.expand_as(self.image), cover[:, None].expand_as(self.image))

    def shade(self, cover: Tensor) -> None:
        """Darken by a share."""
        self.image.mul_(1 - cover[:, None])

    # --- parts, from back to front -----------------------------------------------------------------------------------

    def head(self) -> Tensor:
        """Distance to the outline: an ellipse that narrows towards the chin."""
        n = self.n
        down = ((self.y - 0.05) / n["head_height"]).clamp(0, 1.2)
        return ellipse(self.x, self.y - 0.05, n["head_width"] * (1 - n["jaw"] * down * down), n["head_height"])

    def crown(self) -> Tensor:
        """Distance to the hair's outline around the top of the head."""
        n = self.n
        up = n["head_height"] - 0.1 + n["hair_volume"]
        return ellipse(self.x, self.y + 0.13, n["head_width"] + n["hair_volume"], up)

    def behind(self) -> None:
        """What the head hides: hair, shoulders, neck and ears."""
        n = self.n
        beside = self.x.abs() - n["head_width"] - n["hair_volume"] * (1 + 0.5 * self.y)
        fall = beside.maximum(self.y - n["hair_length"]).maximum(-0.1 - self.y)
        strands = 0.7 + 0.1 * torch.sin(45 * self.x + n["strand_phase"] + 3 * torch.sin(3 * self.y))
        self.paint(self.cover(self.crown().minimum(fall)), self.colour["hair"] * strands[:, None])
        self.paint(self.cover(ellipse(self.x, self.y - 1.2, 0.95, 0.48)), self.colour["clothes"])
        neck = (self.x.abs() - 0.55 * n["head_width"]).maximum(self.y - 0.93)
        self.paint(self.cover(neck.maximum(-self.y)), self.colour["skin"] * 0.78)
        ears = ellipse(self.x.abs() - n["head_width"], self.y - 0.06, 0.07, 0.13)
        self.paint(self.cover(ears) * n["ears"], self.colour["skin"] * 0.9)

    def skin(self, head: Tensor) -> None:
        self.paint(self.cover(head), self.colour["skin"])
        rim = (1 + head / 0.22).clamp_(0, 1).square_()
        self.shade(0.25 * rim * self.cover(head))
        cheeks = soft(ellipse(self.side - 0.25, self.y - 0.22, 0.13, 0.11), 0.12)
        self.paint(0.22 * cheeks * self.cover(head), self.colour["lips"])

    def age(self, head: Tensor) -> None:
        """Lines across the forehead, beside the eyes and from nose to mouth, and bags under the eyes."""
        n = self.n
        wrinkles = n["wrinkles"] * self.cover(head + 0.04)
        forehead = torch.zeros(())
        for row in range(3):
            bend = self.y - (n["brow_y"] - 0.09 - 0.075 * row) - n["line_bend"] * (self.fx * self.fx - 0.02)
            forehead = self.line(bend, self.side - 0.24 + 0.035 * row, 0.011).maximum(forehead)
        fold_x = self.side - (0.115 + 0.75 * (self.y - n["nose_y"]).clamp(min=0) * (n["mouth_width"] / 0.2))
        fold = self.line(fold_x * 0.8, (self.y - (n["nose_y"] + 0.07)).abs() - 0.13, 0.012)
        bag_y = self.y - (n["eye_y"] + 0.10) + 2.5 * (self.side - n["eye_apart"]).square()
        bag = self.line(bag_y, (self.side - n["eye_apart"]).abs() - 0.085, 0.012)
        out = self.side - n["eye_apart"] - 0.11
        feet = torch.zeros(())
        for slope in (-0.6, 0.0, 0.6):
            foot = self.line(self.y - n["eye_y"] - slope * out, (out - 0.045).abs() - 0.04, 0.008)
            feet = foot.maximum(feet)
        self.shade(wrinkles * (0.5 * forehead.maximum(fold).maximum(bag)).maximum(0.45 * feet))

    def line(self, across: Tensor, beyond: Tensor, half_width: float) -> Tensor:
        """A line where ``across`` is 0, as far as ``beyond`` is negative. No thinner than it can be seen."""
        return self.cover(across.abs() - half_width) * soft(beyond, 0.04)

    def nose(self) -> None:
        n = self.n
        x = self.x - n["turn"] * _NOSE_OUT
        up = n["nose_y"] - self.y
        width = n["nose_width"]
        bridge = self.line(x + (width * 0.55 - 0.12 * up), (up - 0.13).abs() - 0.13, 0.018)
        self.shade(0.22 * bridge)
        bulb = ellipse(x, up - 0.01, width, n["nose_bulb"])
        below = soft(ellipse(x, up + 0.02, width * 1.05, n["nose_bulb"]), 0.05)
        self.shade(0.30 * below)
        self.paint(self.cover(bulb), self.colour["skin"] * 0.97)
        shine = soft(ellipse(x + 0.02, up - 0.04, width * 0.35, n["nose_bulb"] * 0.4), 0.05)
        self.paint(0.45 * shine, (self.colour["skin"] * 1.25).clamp(max=1))
        nostrils = self.cover(ellipse(x.abs() - width * 0.5, up + n["nose_bulb"] * 0.6, width * 0.26, 0.022))
        self.shade(0.65 * nostrils)

    def beard(self, head: Tensor) -> None:
        """Over chin, jaw and upper lip: above it a curve from the ears down to the nose."""
        n = self.n
        edge = (
            n["nose_y"]
            + 0.085
            - 1.4 * (self.side - 0.1).clamp(min=0).square()
            + 0.25 * (0.16 - self.side).clamp(0, 0.04)
        )
        cheeks = (edge + 0.45 * (0.26 - self.side).clamp(0, 0.1)) - self.y
        round_mouth = ellipse(self.fx, self.y - n["mouth_y"], n["mouth_width"] * 1.05, n["lip_low"] + 0.05)
        strands = 0.8 + 0.2 * torch.sin(60 * self.fx + 30 * self.y + n["strand_phase"]) * torch.sin(50 * self.y)
        area = self.cover(head - 0.02) * soft(cheeks, 0.06) * (1 - soft(round_mouth, 0.04))
        self.paint(area * strands * n["beard"], self.colour["beard"])

    def mouth(self) -> None:
        n = self.n
        along = self.fx / n["mouth_width"]
        rest = (1 - along * along).clamp(min=0)
        middle = n["mouth_y"] - n["smile"] * along * along
        inside = self.cover(self.side - n["mouth_width"])
        bow = 1 - 0.3 * torch.exp(-(along * 5).square())
        top = middle - n["gap"] * rest - n["lip_up"] * rest * bow
        bottom = middle + n["gap"] * rest + n["lip_low"] * rest.sqrt() * rest.clamp(min=0.3)
        self.shade(
            0.25 * soft((self.y - bottom - 0.035).abs() - 0.015, 0.03) * soft(self.side - 0.6 * n["mouth_width"], 0.1)
        )
        self.paint(self.cover(top - self.y) * self.cover(self.y - bottom) * inside, self.colour["lips"])
        shine = soft((self.y - (middle + bottom) / 2 - 0.01).abs() - 0.2 * n["lip_low"], 0.03)
        self.paint(
            0.3 * shine * soft(self.side - 0.5 * n["mouth_width"], 0.08), (self.colour["lips"] * 1.4).clamp(max=1)
        )
        opening = (self.y - middle).abs() - n["gap"] * rest
        self.paint(self.cover(opening) * inside * n["teeth"], torch.tensor(0.93))
        parting = self.cover((self.y - middle).abs() - 0.012) * inside * (1 - n["teeth"])
        self.shade(0.6 * parting)

    def eyes(self) -> None:
        n = self.n
        out = self.side - n["eye_apart"]
        up = n["eye_y"] - self.y
        across = out / n["eye_width"]
        lid = (1 - across * across).clamp(min=0)
        upper, lower = n["eye_open"] * lid, -0.75 * n["eye_open"] * lid
        white = self.cover(up - upper) * self.cover(lower - up) * self.cover(out.abs() - n["eye_width"])
        self.shade(0.28 * soft(ellipse(out, up - 0.02, n["eye_width"] * 1.1, 0.055), 0.06))
        self.paint(white, torch.tensor(0.95))
        looks = self.fx.sign() * n["gaze"]
        iris = ellipse(out - looks, up, n["iris"], n["iris"])
        self.paint(self.cover(iris) * white, self.colour["eyes"])
        self.paint(self.cover(iris + 0.55 * n["iris"]) * white, torch.tensor(0.05))
        glint = ellipse(self.side - n["eye_apart"] - looks + 0.012 * self.fx.sign(), up - 0.015, 0.011, 0.011)
        self.paint(self.cover(glint) * white, torch.tensor(1.0))
        lash = self.cover((up - upper).abs() - n["lash"]) * self.cover(out.abs() - n["eye_width"] * 1.05)
        self.shade(0.8 * lash)
        arch = n["brow_y"] + n["brow_arch"] * (out / 0.12).square() + n["brow_slope"] * out
        thick = n["brow_thick"] * (1.1 - 4 * out.clamp(min=0))
        brow = self.cover((self.y - arch).abs() - thick) * self.cover(out.abs() - 0.125)
        self.paint(0.9 * brow, self.colour["brows"])

    def fringe(self) -> None:
        """Hair on top of the head, down to the hairline."""
        n = self.n
        line = n["hairline"] + n["part_bend"] * (self.x - n["part_x"]).square() + n["part_slope"] * self.x
        crown = self.crown()
        wave = torch.sin(26 * (self.x - n["part_x"]) / (1.3 + self.y) + n["strand_phase"] + 5 * self.y)
        area = self.cover(crown.maximum(self.y - line + 0.012 * wave))
        self.paint(area, self.colour["hair"])
        fine = torch.sin(58 * (self.x - n["part_x"]) / (1.3 + self.y) + 3 * n["strand_phase"])
        self.shade(area * (0.13 + 0.13 * wave * fine))
        shine = soft((crown + 0.14 + 0.03 * wave).abs() - 0.02, 0.06)
        self.paint(0.25 * shine * area, (self.colour["hair"] * 1.7).clamp(max=1))

    def glasses(self) -> None:
        n = self.n
        out, up = self.side - n["eye_apart"], n["eye_y"] + 0.01 - self.y
        lens = ellipse(out, up, n["lens"], n["lens"] * n["lens_flat"])
        self.paint(0.16 * self.cover(lens) * n["glasses"], torch.tensor(0.85))
        rims = self.cover(lens.abs() - 0.018)
        bridge = self.cover((up - 0.03).abs() - 0.014) * self.cover(self.side - n["eye_apart"] + n["lens"])
        arms = self.cover((up - 0.02).abs() - 0.012) * self.cover(n["eye_apart"] + n["lens"] - self.side)
        arms = arms * self.cover(self.x.abs() - n["head_width"])
        self.paint(rims.maximum(bridge).maximum(arms) * n["glasses"], self.colour["frames"])

    def lit(self) -> Tensor:
        n = self.n
        light = n["exposure"] * (1 + n["light_x"] * self.x + n["light_y"] * self.y)
        return self.image * light[:, None] * self.colour["light"]


def ellipse(x: Tensor, y: Tensor, radius_x: Tensor | float, radius_y: Tensor | float) -> Tensor:
    """About the distance to an ellipse around (0, 0), exact on its edge."""
    # One step of Newton's method from where the squared distance in radii is 1: it needs a single square root.
    across, along = x * (1 / radius_x), y * (1 / radius_y)
    slope = (across * (1 / radius_x)).square_() + (along * (1 / radius_y)).square_()
    return (across.square_() + along.square_() - 1) * slope.add_(1e-9).rsqrt_() * 0.5


def soft(distance: Tensor, width: float) -> Tensor:
    """1 inside, 0 from ``width`` outside on, smooth between."""
    share = (1 - distance / width).clamp_(0, 1)
    return share * share * (3 - 2 * share)
