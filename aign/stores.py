"""Files behind any address that fsspec knows (``s3://bucket/prefix``): the way to them, and what their errors mean.

Keys, region and endpoint of a store come from the environment, as it is when the way is opened.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aign.errors import UserError
from aign.store_errors import StoreAway, s3_error, unreachable

_OWN_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def open_store(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it, without a ``/`` at its end."""
    if address.startswith("s3://"):
        return s3_system(), address.removeprefix("s3://").rstrip("/")
    import fsspec  # here: with its stores it takes half a second

    folders = {"auto_mkdir": True} if address.startswith("file://") else {}
    fresh = {"skip_instance_cache": True, "use_listings_cache": False}  # the environment and the files may change
    system, path = fsspec.core.url_to_fs(address, **fresh, **folders)
    return system, path.rstrip("/")


def s3_system(connect_timeout: float = 5, read_timeout: float = 60, attempts: int = 3) -> Any:
    """A new s3fs file system."""
    import s3fs  # here: it takes half a second that a local path need not wait for
    from aiobotocore.session import AioSession
    from botocore.handlers import add_expect_header

    session = AioSession()
    # While it waits for the "100 continue" that this header asks for, no read timeout counts: a put would hang.
    session.unregister("before-call.s3", add_expect_header)
    region = os.environ.get("AWS_REGION")  # botocore itself reads only AWS_DEFAULT_REGION
    retries = {"mode": "standard", "total_max_attempts": attempts}
    return s3fs.S3FileSystem(
        session=session,
        skip_instance_cache=True,  # a cached one would keep the endpoint and keys of an earlier environment
        use_listings_cache=False,
        max_concurrency=4,  # bounds the memory of a large transfer to 4 parts of 50 MiB
        config_kwargs={"connect_timeout": connect_timeout, "read_timeout": read_timeout, "retries": retries},
        client_kwargs={"region_name": region} if region else {},
    )


@contextmanager
def told(place: str, done: str = "read") -> Iterator[None]:
    """Errors of file systems of all kinds as UserErrors about a place, which cannot be read or ``done`` otherwise."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OWN_DISK:  # of this machine, not of the place
            raise
        raise _told(error, place, done) from None


def _told(error: Exception, place: str, done: str) -> UserError:
    known = s3_error(error, place) if place.startswith("s3://") else error
    if isinstance(known, StoreAway):
        return unreachable(place, known)
    if isinstance(known, UserError):
        return known
    if isinstance(error, ImportError | ValueError):  # a protocol that is unknown, or whose package is missing
        return UserError(place, str(error), "give a local folder or s3://bucket/prefix")
    # Only the kind of a foreign error: its text may quote an address with keys in it.
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return UserError(place, f"cannot be {done} ({reason})", "check the address, your rights there and the connection")
