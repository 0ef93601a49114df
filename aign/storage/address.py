"""Addresses of folders in storage, and paths inside them."""

import re

from aign.errors import UserError
from aign.options import absolute


def clean_address(uri: str) -> str:
    """``uri`` in the one form that stands for it, or UserError."""
    if "://" not in uri:
        if not uri.strip():
            raise UserError("''", "is not a storage address", "give a local path or s3://bucket/prefix")
        return absolute(uri)  # workers start in other folders
    scheme, _, rest = uri.partition("://")
    bucket, _, prefix = rest.partition("/")
    shown = f"{scheme}://{bucket.rpartition('@')[2]}"
    if "@" in bucket:
        raise UserError(shown, "an address must not hold credentials", "give them in the environment")
    if scheme != "s3":
        raise UserError(shown, f"{scheme}:// is not supported", "give a local path or s3://bucket/prefix")
    if not re.fullmatch(r"[a-zA-Z0-9._-]{3,255}", bucket):
        raise UserError(shown, "this is not a valid bucket name", "give s3://bucket/prefix")
    try:
        path = inside(prefix.rstrip("/"))
    except ValueError:
        raise UserError(uri, "the prefix has an empty part, . or ..", "give s3://bucket/prefix") from None
    return f"s3://{bucket}/{path}" if path else f"s3://{bucket}"


def inside(path: str) -> str:
    """``path`` itself if it stays inside its folder, else ValueError."""
    if path and (path.startswith("/") or not set(path.split("/")).isdisjoint({"", ".", ".."})):
        raise ValueError(f"{path!r} is not a path inside a store")
    return path
