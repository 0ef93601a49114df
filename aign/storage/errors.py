"""What the errors of a store mean: away for a while (:class:`StoreAway`), absent, or something a person must mend.

Two tables decide it, one by the S3 error code that the server answered and one by the exception that the client raised
when there was no answer. The texts name places and codes only, never keys, tokens or what a server wrote back.
"""

import errno
import os
from urllib.parse import urlsplit

from aign.errors import Explained, UserError


class StoreAway(Explained):
    """The store does not answer, or asks for a pause: the same call may succeed later. Commands exit with status 1."""

    @property
    def observation(self) -> str:
        """The line without its remedy, for work that waits for the store."""
        return f"{self.value}: {self.reason}"

    def as_user_error(self, value: object) -> UserError:
        """About ``value``, for a check that ends when the store is away."""
        return UserError(value, self.reason, self.remedy)


class DiskAway(StoreAway):
    """A local disk is full, or gone for a while."""


class NotRemoved(UserError):
    """A store refuses to remove what is in it. Everything else goes on."""


_KEYS = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the profile that AWS_PROFILE names"
_GIVE_KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or use a machine that has a role"
_LATER = "run it again later"
_REGION = "set AWS_REGION to the bucket's region"
_ENDPOINT = "check AWS_ENDPOINT_URL and that the store is running"
_NETWORK = "check AWS_ENDPOINT_URL, the network and that the store is running"

_REFUSED = {
    "InvalidAccessKeyId": ("the credentials are refused: the store does not know the access key", _KEYS),
    "SignatureDoesNotMatch": ("the credentials are refused: the secret does not belong to the access key", _KEYS),
    "InvalidToken": ("the credentials are refused: the session token is not valid", _KEYS),
    "ExpiredToken": ("the credentials are refused: they have expired", "get new ones and set them again"),
    "AccessDenied": (
        "the credentials are refused for this place",
        "allow them to put, get, list and delete objects there, or use other credentials",
    ),
    "RequestTimeTooSkewed": ("the credentials are refused: this machine's clock is wrong", "set the clock"),
    "NoSuchBucket": ("the bucket does not exist", "create it, or check the name and AWS_ENDPOINT_URL"),
    "InvalidBucketName": ("this is not a valid bucket name", "check the name"),
    "PermanentRedirect": ("the bucket is in another region", _REGION),
    "AuthorizationHeaderMalformed": ("the bucket is in another region", _REGION),
    "IllegalLocationConstraintException": ("the bucket is in another region", _REGION),
}
_REFUSED |= {"403": _REFUSED["AccessDenied"], "401": _REFUSED["AccessDenied"], "301": _REFUSED["PermanentRedirect"]}

# fmt: off
_AWAY_CODES = {
    "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "RequestTimeoutException", "Throttling",
    "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException", "BandwidthLimitExceeded",
    "OperationAborted", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", "NoSuchUpload",
}
# fmt: on

_NEVER = 501  # not implemented: no pause helps

# A full or vanished disk comes back, or is emptied, while the run goes on; a missing permission does not.
_AWAY_ERRNO = {errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EBUSY}


def local_error(error: OSError, uri: str) -> Exception:
    """The exception to raise for an error of the local file system at ``uri``."""
    if isinstance(error, FileNotFoundError):
        return error
    reason = (error.strerror or type(error).__name__).lower()
    if error.errno in _AWAY_ERRNO:
        return DiskAway(uri, reason, "make room on this disk, or mount it again")
    if isinstance(error, NotADirectoryError | FileExistsError):
        return UserError(uri, "a part of this path is a file, not a folder", "choose another folder")
    if isinstance(error, IsADirectoryError):
        return UserError(uri, "this is a folder, not a file", "choose another path")
    return UserError(uri, f"cannot be read or written ({reason})", "choose a folder that you may write to")


def s3_error(error: Exception, uri: str) -> Exception:
    """The exception to raise for ``error``, which an S3 call for ``uri`` raised."""
    endpoint = store_endpoint()
    answer = _server_answer(error)
    if answer is not None:
        return _error_by_code(*answer, error, uri, endpoint)
    return _error_without_answer(error, uri, endpoint)


def store_endpoint() -> str:
    """The address that the environment gives s3:// stores, without a user name, password or query."""
    return plain_endpoint(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))


def plain_endpoint(url: str | None) -> str:
    """``url`` without a user name, password or query."""
    if not url:
        return "AWS (AWS_ENDPOINT_URL is not set)"
    parts = urlsplit(url.rpartition("@")[2] if "://" not in url else url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else parts.path


def _server_answer(error: BaseException | None) -> tuple[str, int] | None:
    """Code and HTTP status of the botocore ClientError inside ``error`` (s3fs hides it as the cause), or None."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict) and "Error" in response:
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return str(response["Error"].get("Code", status)), int(status)
        error = error.__cause__
    return None


def _error_by_code(code: str, status: int, error: Exception, uri: str, endpoint: str) -> Exception:
    if code in _AWAY_CODES or (status >= 500 and status != _NEVER) or status == 429:
        return StoreAway(uri, f"the store at {endpoint} asks for a pause ({code})", _LATER)
    if code in _REFUSED:
        return UserError(uri, *_REFUSED[code])
    if code == "NoSuchKey" or (status == 404 and isinstance(error, FileNotFoundError)):
        return FileNotFoundError(uri)
    return UserError(uri, f"the server at {endpoint} refused the request ({code}, HTTP {status})", _ENDPOINT)


def _error_without_answer(error: Exception, uri: str, endpoint: str) -> Exception:
    import botocore.exceptions as boto  # here: slow to import, and only S3 users have it loaded already

    unreachable = f"the store at {endpoint} cannot be reached"
    if isinstance(error, FileNotFoundError):
        return error
    if isinstance(error, boto.NoCredentialsError):
        return UserError(uri, "no credentials found", _GIVE_KEYS)
    if isinstance(error, boto.PartialCredentialsError):
        return UserError(uri, "the credentials are incomplete: one of key and secret is missing", _GIVE_KEYS)
    if isinstance(error, boto.ProfileNotFound):
        return UserError(uri, "the profile that AWS_PROFILE names does not exist", _GIVE_KEYS)
    if isinstance(error, boto.CredentialRetrievalError | boto.MetadataRetrievalError):
        return StoreAway(uri, "the service that hands out credentials does not answer", _GIVE_KEYS)
    if isinstance(error, boto.SSLError):
        return StoreAway(uri, f"{unreachable}: no TLS connection (https or http?)", _NETWORK)
    if isinstance(error, boto.ConnectTimeoutError | boto.ReadTimeoutError | TimeoutError):
        return StoreAway(uri, f"{unreachable}: no answer in time", _NETWORK)
    if isinstance(error, boto.ConnectionError | boto.HTTPClientError | ConnectionError) or _is_broken_transfer(error):
        return StoreAway(uri, unreachable, _NETWORK)
    if isinstance(error, ValueError) and "endpoint" in str(error).lower():
        return UserError(uri, f"{endpoint} is not a valid endpoint", "set AWS_ENDPOINT_URL to http(s)://host:port")
    if isinstance(error, boto.ParamValidationError):
        return UserError(uri, "this is not a valid bucket name or path", "check the name")
    if isinstance(error, OSError) and error.errno is not None:
        return local_error(error, uri)  # the local end of an upload or a download
    if isinstance(error, boto.BotoCoreError) or type(error).__name__ == "ResponseParserError":
        reason = f"the server at {endpoint} does not answer like an S3 store ({type(error).__name__})"
        return UserError(uri, reason, _ENDPOINT)
    return error  # a mistake in a program, not in a place


def _is_broken_transfer(error: Exception) -> bool:
    """Whether ``error`` says that an answer broke off half way (aiohttp's and urllib3's own types)."""
    return {kind.__name__ for kind in type(error).__mro__} & {"ClientError", "IncompleteRead"} != set()


def not_read_back(uri: str) -> UserError:
    return UserError(uri, "cannot be written and read back", "check that this is a place for files")
