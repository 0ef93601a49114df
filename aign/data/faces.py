"""Generated faces: drawn people whose attributes are independent of one another, for work without real photographs.

A world of ``NUM_PEOPLE`` people. A person (``identity``) has a head, features, a skin tone, hair and eye colours; an
image adds the attributes (``ATTRIBUTES``), the pose, the expression, the light and the background.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aign.data.face_drawing import Colours, Numbers, draw_faces, landmarks_px
from aign.data.images import ImageSet

NUM_PEOPLE = 200
ATTRIBUTES = {
    "Old": 0.5,
    "Beard": 0.5,
    "Big_Lips": 0.5,
    "Big_Nose": 0.5,
    "Long_Hair": 0.5,
    "Smiling": 0.5,
    "Glasses": 0.3,
}
"""What differs from image to image, with how often it is there. ``Dark_Hair`` belongs to the person: half are dark."""
YOUNG_AGES, OLD_AGES = (18, 40), (55, 85)

_PERSON = {
    "head_width": (0.40, 0.50),
    "head_height": (0.60, 0.68),
    "jaw": (0.06, 0.26),
    "eye_apart": (0.165, 0.215),
    "eye_y": (-0.05, 0.03),
    "eye_width": (0.080, 0.102),
    "eye_open": (0.036, 0.056),
    "iris": (0.034, 0.044),
    "lash": (0.010, 0.018),
    "brow_lift": (0.11, 0.15),
    "brow_arch": (0.00, 0.05),
    "brow_slope": (-0.15, 0.25),
    "brow_thick": (0.014, 0.030),
    "nose_y": (0.19, 0.26),
    "mouth_drop": (0.17, 0.22),
    "mouth_size": (0.135, 0.175),
    "hairline": (-0.40, -0.28),
    "part_x": (-0.25, 0.25),
    "part_bend": (-0.3, 1.1),
    "part_slope": (-0.2, 0.2),
    "hair_volume": (0.05, 0.12),
    "skin": (0, 1),
    "hair": (0, 1),
    "eyes": (0, 1),
    "redness": (0, 1),
}
"""Ranges of what a person keeps."""
_IMAGE = {
    "shift_x": (-0.08, 0.08),
    "shift_y": (-0.05, 0.08),
    "tilt": (-0.16, 0.16),
    "scale": (1.05, 1.27),
    "turn": (-0.07, 0.07),
    "gaze": (-0.025, 0.025),
    "open": (0.75, 1.1),
    "strand_phase": (0, 6.28),
    "lips": (0.85, 1.15),
    "nose": (0.9, 1.1),
    "smile_size": (0.85, 1.15),
    "beard_full": (0.75, 1.0),
    "length": (0.45, 0.85),
    "grey": (0.15, 0.8),
    "wrinkled": (0.75, 1.0),
    "lens": (0.115, 0.14),
    "lens_flat": (0.75, 1.0),
    "frames": (0, 1),
    "line_bend": (-0.5, 0.9),
    "exposure": (0.75, 1.15),
    "light_x": (-0.28, 0.28),
    "light_y": (-0.15, 0.15),
    "warmth": (-0.08, 0.08),
    "back_angle": (0, 6.28),
    **{f"{part}_{channel}": (0.05, 0.98) for part in ("back", "back_end", "clothes") for channel in "rgb"},
    "age": (0, 1),
    **{f"is_{name}": (0, 1) for name in ATTRIBUTES},
}
"""Ranges of what changes from image to image."""

_SKINS = ((0.98, 0.85, 0.76), (0.93, 0.75, 0.62), (0.80, 0.59, 0.44), (0.60, 0.41, 0.29), (0.38, 0.25, 0.18))
_DARK_HAIRS = ((0.07, 0.06, 0.06), (0.20, 0.12, 0.08), (0.33, 0.20, 0.12))
_LIGHT_HAIRS = ((0.62, 0.33, 0.15), (0.72, 0.52, 0.28), (0.90, 0.78, 0.50))
_EYES = ((0.22, 0.13, 0.07), (0.38, 0.26, 0.12), (0.30, 0.45, 0.30), (0.30, 0.48, 0.68))
_FRAMES = ((0.05, 0.05, 0.06), (0.35, 0.14, 0.08), (0.55, 0.56, 0.60))
_LIP_RED = (0.72, 0.24, 0.26)
_GREY = (0.80, 0.80, 0.80)


def generated_faces(count: int, seed: int, size: int = 64) -> ImageSet:
    """``count`` drawn faces of ``size`` x ``size`` pixels, in colour.

    Image i depends on the seed and i alone; the people and so the splits (80 % of the people train, 10 % validation,
    10 % test) are the same for every count. The table has ``ATTRIBUTES`` and ``Dark_Hair`` (1 or -1), ``age`` in years,
    ``identity``, the landmarks in pixels, and ``split``.
    """
    identity = np.arange(count) % NUM_PEOPLE
    people = _drawn(_PERSON, NUM_PEOPLE, (seed, 0))
    person = {name: values[identity] for name, values in people.items()}
    image = _drawn(_IMAGE, count, (seed, 1))
    has = {name: image[f"is_{name}"] < share for name, share in ATTRIBUTES.items()}
    has["Dark_Hair"] = torch.from_numpy(identity % 2 == 0)
    numbers = _numbers(person, image, has)
    table = {name: torch.where(there, 1, -1).numpy() for name, there in has.items()}
    table["age"] = _age(image, has["Old"]).round().int().numpy()
    table["identity"] = identity
    table |= {name: values.numpy() for name, values in landmarks_px(numbers, size).items()}
    frame = pd.DataFrame(table)
    # Neighbours share a split, one with dark and one with light hair; the first few people are in all splits.
    frame["split"] = np.array(["train", "train", "validation", "test", *["train"] * 6])[identity // 2 % 10]
    pixels = draw_faces(numbers, _colours(person, image, has), size)
    return ImageSet(name="generated faces", pixels=pixels, table=frame)


def _drawn(ranges: dict[str, tuple[float, float]], count: int, seed: tuple[int, int]) -> Numbers:
    """A number for each range and row. Rows are drawn one after another: more of them do not change the first."""
    numbers = np.random.default_rng(seed).random((count, len(ranges)), dtype=np.float32)
    return {
        name: torch.from_numpy(low + (high - low) * numbers[:, i])
        for i, (name, (low, high)) in enumerate(ranges.items())
    }


def _age(image: Numbers, old: Tensor) -> Tensor:
    low, high = (torch.where(old, a, b) for a, b in zip(OLD_AGES, YOUNG_AGES, strict=True))
    return low + (high - low) * image["age"]


def _numbers(person: Numbers, image: Numbers, has: dict[str, Tensor]) -> Numbers:
    """What the drawing needs, from what the person and the image are."""
    big_lips, smiling = has["Big_Lips"], has["Smiling"].float()
    big_nose, long_hair = has["Big_Nose"], has["Long_Hair"].float()
    old_by = ((_age(image, has["Old"]) - 45) / 40).clamp(0, 1)
    return {
        **person,
        **image,
        "brow_y": person["eye_y"] - person["brow_lift"] - 0.01 * smiling,
        "eye_open": person["eye_open"] * image["open"] * (1 - 0.15 * smiling),
        "wrinkles": has["Old"] * (0.55 + 0.45 * old_by) * image["wrinkled"],
        "nose_width": image["nose"] * torch.where(big_nose, 0.150, 0.075),
        "nose_bulb": image["nose"] * torch.where(big_nose, 0.092, 0.052),
        "beard": has["Beard"] * image["beard_full"],
        "mouth_y": person["nose_y"] + person["mouth_drop"],
        "mouth_width": person["mouth_size"] * (1 + 0.25 * smiling),
        "smile": (0.055 * smiling - 0.008) * image["smile_size"],
        "gap": 0.026 * smiling * image["smile_size"],
        "teeth": smiling,
        "lip_up": image["lips"] * torch.where(big_lips, 0.068, 0.020),
        "lip_low": image["lips"] * torch.where(big_lips, 0.098, 0.030),
        "hair_length": long_hair * image["length"] - (1 - long_hair) * 0.05,
        "ears": 1 - long_hair,
        "glasses": has["Glasses"].float(),
        "back_cos": image["back_angle"].cos(),
        "back_sin": image["back_angle"].sin(),
    }


def _colours(person: Numbers, image: Numbers, has: dict[str, Tensor]) -> Colours:
    skin = _between(_SKINS, person["skin"])
    dark, light = _between(_DARK_HAIRS, person["hair"]), _between(_LIGHT_HAIRS, person["hair"])
    hair = torch.where(has["Dark_Hair"][:, None], dark, light)
    grey = 0.55 * torch.tensor(_GREY) + 0.45 * hair
    hair_now = torch.lerp(hair, grey, (has["Old"] * image["grey"])[:, None])
    return {
        "skin": skin,
        "hair": hair_now,
        "brows": hair_now * 0.75,
        "beard": hair_now * 0.6,
        "eyes": _between(_EYES, person["eyes"]),
        "lips": torch.lerp(
            skin, torch.tensor(_LIP_RED) * skin.mean(1, keepdim=True) / 0.7, (0.6 + 0.4 * person["redness"])[:, None]
        ),
        "frames": _between(_FRAMES, image["frames"]),
        "light": 1 + image["warmth"][:, None] * torch.tensor([1.0, 0.0, -1.0]),
        **{part: torch.stack([image[f"{part}_{c}"] for c in "rgb"], 1) for part in ("back", "back_end", "clothes")},
    }


def _between(anchors: tuple[tuple[float, ...], ...], share: Tensor) -> Tensor:
    """A colour on the way along the anchors, 0 at the first and 1 at the last."""
    table, place = torch.tensor(anchors), share * (len(anchors) - 1)
    low = place.long().clamp(max=len(anchors) - 2)
    return torch.lerp(table[low], table[low + 1], (place - low)[:, None])
