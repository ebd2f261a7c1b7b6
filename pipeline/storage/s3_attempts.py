"""Tries a call of S3's again, with growing random pauses, while its error may pass."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pipeline.storage.s3_errors import (
    S3DamagedError,
    S3UnavailableError,
    WrongBodyError,
    lasting_error,
    transient_reason,
)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class S3Limits:
    """How long to wait, how often to try, and how much to send at once."""

    connect_s: float = 10.0
    """For a connection."""
    read_s: float = 30.0
    """For the next bytes of an answer."""
    attempts: int = 6
    first_pause_s: float = 0.25
    """Upper end of the first random pause; it doubles with every attempt."""
    max_pause_s: float = 10.0
    part_bytes: int = 16 << 20
    """Larger files go up in parts of this size; S3 wants at least 5 MiB."""


def attempt(call: Callable[[], T], what: str, limits: S3Limits) -> T:
    """What `call()` returns; `what` begins the sentence about an error.

    Raises S3UnavailableError, or S3DamagedError, when all attempts failed, and at once what
    `lasting_error` says for the rest.
    """
    for number in range(1, limits.attempts + 1):
        try:
            return call()
        except Exception as error:  # botocore's have no base but this; each is told apart
            reason = transient_reason(error)
            if reason is None:
                lasting = lasting_error(error, what)
                if lasting is error:
                    raise
                raise lasting from None
            if number == limits.attempts and isinstance(error, WrongBodyError):
                raise S3DamagedError(
                    f"{what}: the object is not what its checksum promises; delete it and upload "
                    "it again"
                ) from None
            if number == limits.attempts:
                raise S3UnavailableError(
                    f"{what}: failed {number} times, last with {reason}; see that the network and "
                    "the endpoint work, then run the same command again"
                ) from None
        # Full jitter, so that many workers do not come back all at once:
        # https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        longest_s = min(limits.max_pause_s, limits.first_pause_s * 2 ** (number - 1))
        time.sleep(random.uniform(0, longest_s))
    raise AssertionError("attempts is positive")
