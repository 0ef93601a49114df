"""What a run is told from outside. Imported by processes that have no need of PyTorch."""

from enum import IntEnum


class Notice(IntEnum):
    """What a worker has been told from outside. It is heeded within seconds, by all workers together."""

    NONE = 0
    SAVE = 1
    """This worker may be gone soon: save once, go on."""
    STOP = 2
    """Save and end."""
