"""Files to read behind any address that fsspec knows (``s3://bucket/prefix``, ``gs://bucket/prefix``)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aign.errors import UserError
from aign.storage.errors import StoreAway, s3_error
from aign.storage.s3 import s3_system


def open_filesystem(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it, without a ``/`` at its end.

    Keys, region and endpoint of a store come from the environment, as it is now.
    """
    if address.startswith("s3://"):
        return s3_system(), address.removeprefix("s3://").rstrip("/")
    import fsspec  # here: with its stores it takes half a second

    fresh = {"skip_instance_cache": True, "use_listings_cache": False}  # the environment and the files may change
    system, path = fsspec.core.url_to_fs(address, **fresh)
    return system, path.rstrip("/")


@contextmanager
def reading(place: str) -> Iterator[None]:
    """Errors of file systems of all kinds as UserErrors about a place."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise _refusal(error, place) from None


def _refusal(error: Exception, place: str) -> UserError:
    known = s3_error(error, place) if place.startswith("s3://") else error
    if isinstance(known, StoreAway):
        return known.as_user_error(place)
    if isinstance(known, UserError):
        return known
    if isinstance(error, ImportError | ValueError):  # a protocol that is unknown, or whose package is missing
        return UserError(place, str(error), "give a local folder or s3://bucket/prefix")
    # Only the kind of a foreign error: its text may quote an address with keys in it.
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return UserError(place, f"cannot be read ({reason})", "check the address, your rights there and the connection")
