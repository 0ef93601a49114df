"""A run that ended early, as it was asked to."""


class Stopped(Exception):
    """A run has saved and ended early, as it was asked to. Commands say so and exit as a signal's victim does."""

    def __init__(self, how_far: str, signum: int) -> None:
        """``how_far`` says where it stopped."""
        super().__init__(f"{how_far}; the same command goes on from there")
        self.how_far, self.signum = how_far, signum
        self.status = 128 + signum

    def __reduce__(self):
        return type(self), (self.how_far, self.signum)
