"""The one kind of error that a person, not a programmer, can mend."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in an option, a file or a place: says the value, the reason and the remedy in one line.

    Commands print it as ``error: ...`` and exit with status 2; nothing has been changed when it is raised.
    """

    def __init__(self, value: object, reason: str, remedy: str) -> None:
        self.value, self.reason, self.remedy = value, reason, remedy
        super().__init__(f"{value}: {reason}; {remedy}")

    def __reduce__(self):  # an exception with three arguments does not survive a process boundary by itself
        return type(self), (self.value, self.reason, self.remedy)


class NotTrainable(UserError):
    """The values of a run cannot be trained: they are refused together, or a loss term of theirs is not finite.

    Only this counts as a failed trial of a sweep; every other error is that of the place where the trial ran.
    """


def last_line(text: str) -> str:
    """The end of an error's text, which is what went wrong where the text is another process's traceback."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason was given"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The remedy for a misspelt word: the nearest of those that are known, or all of them."""
    words = {other.lower(): other for other in known}
    near = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.4)
    return f"did you mean {words[near[0]]}?" if near else f"choose one of {', '.join(sorted(words.values()))}"
