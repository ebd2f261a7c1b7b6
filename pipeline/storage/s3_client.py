"""boto3's client of S3: time-outs, retries, and errors in its settings."""

import random
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import UserError
from pipeline.storage.s3_address import S3Address
from pipeline.storage.s3_errors import explain_error

_MAX_CONNECTIONS = 32
# Passing errors that botocore's `standard` mode does not retry: what arrived was not what was sent.
_ALSO_RETRIED = {
    "BadDigest",
    "IncompleteBody",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
}


@dataclass(frozen=True, kw_only=True)
class S3Limits:
    """Time-outs, attempts and part sizes of a client."""

    connect_s: float = 10.0
    """For a connection."""
    read_s: float = 30.0
    """For the next bytes of an answer."""
    attempts: int = 5
    """Of one request; the pauses between them are botocore's: random, growing, at most 20 s."""
    part_bytes: int = 16 << 20
    """Larger files are transferred in parts of this size; S3 wants at least 5 MiB."""
    num_threads: int = 8
    """Parts of one file at a time."""


def open_client(address: S3Address, limits: S3Limits) -> Any:
    """A client of the endpoint that AWS_ENDPOINT_URL or ~/.aws/config names, else of AWS.

    Credentials, region and endpoint come from boto3's own chain. Sends no request. Raises UserError
    for a profile, region or endpoint that is not valid.
    """
    # Here, not above: importing it takes a third of a second, which a run without S3 need not wait.
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, PartialCredentialsError

    config = Config(
        connect_timeout=limits.connect_s,
        read_timeout=limits.read_s,
        retries={"mode": "standard", "total_max_attempts": limits.attempts},
        # We ask for SHA-256; not every server of S3's protocol supports botocore's defaults.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=_MAX_CONNECTIONS,
        tcp_keepalive=True,
    )

    def retry_delay(attempts: int, response: Any, **_: Any) -> float | None:
        # A `needs-retry` handler of botocore's; the one of the standard mode has precedence.
        if response is None or attempts >= limits.attempts:
            return None
        http, body = response
        passes = http.status_code == 429 or body.get("Error", {}).get("Code") in _ALSO_RETRIED
        return random.uniform(0, 2 ** (attempts - 1)) if passes else None

    try:
        # A session of its own: the default one may not be shared between threads.
        client = boto3.session.Session().client("s3", config=config)
    except PartialCredentialsError as error:
        raise explain_error(error, str(address)) from None
    except BotoCoreError as error:
        raise UserError(
            f"{address}: boto3 refuses its settings ({type(error).__name__}); correct AWS_PROFILE, "
            "AWS_REGION or ~/.aws/config"
        ) from None
    except ValueError:  # its text repeats the endpoint, which may hold a password
        raise UserError(
            f"{address}: AWS_ENDPOINT_URL is no address; it must look like https://host:port"
        ) from None
    client.meta.events.register("needs-retry.s3", retry_delay)
    return client
