"""Files as tables name them, which were often made on another machine or before the files were converted."""

import posixpath
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence


def match_files(names: Sequence[str], files: Sequence[str]) -> list[str | None]:
    """The file of a folder that each name means; None where none is meant, or several could be.

    A name may differ from its file by ``./``, ``\\``, spaces around it, the case of letters, the form of accents, the
    suffix (``.jpg`` for ``.png``), and by folders in front that this folder does not have: it may be a whole path of
    another machine.
    """
    if set(names) <= set(files):
        return list(names)
    exact = set(files)
    by_variant = [(variant, _only(files, variant)) for variant in (_plain, str.casefold, _without_suffix)]
    inner = {_plain(file).split("/", 1)[0].casefold() for file in files if "/" in file}

    def match(name: str) -> str | None:
        if name in exact:
            return name
        parts = _plain(name).split("/")
        while len(parts) > 1 and parts[0].casefold() not in inner:
            parts = parts[1:]
        rest = "/".join(parts)
        return next((found[variant(rest)] for variant, found in by_variant if variant(rest) in found), None)

    return [match(name) for name in names]


def _only(files: Sequence[str], variant: Callable[[str], str]) -> dict[str, str]:
    """Files by a variant of their names that no other has."""
    variants = [variant(_plain(file)) for file in files]
    counts = Counter(variants)
    return {name: file for name, file in zip(variants, files, strict=True) if counts[name] == 1}


def _plain(name: str) -> str:
    return posixpath.normpath(unicodedata.normalize("NFC", name).strip().replace("\\", "/")).lstrip("/")


def _without_suffix(name: str) -> str:
    return posixpath.splitext(name)[0].casefold()
