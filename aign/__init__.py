"""Adversarial Inverse Graphics Networks: infer what an image is made of, from rendering and memories.

import aign

trained = aign.train("pose", preset="aign", steps=500)
trained.picture().savefig("pose.png")
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """Import PyTorch only when it is used, so that commands can refuse bad options at once."""
    if name == "train":
        from aign.notebook import train

        return train
    if name in ("load", "Trained"):
        from aign import trained

        return getattr(trained, name)
    raise AttributeError(f"module 'aign' has no attribute {name!r}")
