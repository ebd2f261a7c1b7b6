"""boto3's client: credentials, region and endpoint come from boto3's own chain alone."""

from typing import Any

from pipeline.core.errors import UserError
from pipeline.storage.s3_address import S3Address
from pipeline.storage.s3_attempts import S3Limits
from pipeline.storage.s3_errors import lasting_error


def open_client(address: S3Address, limits: S3Limits) -> Any:
    """A botocore client of the endpoint that AWS_ENDPOINT_URL or ~/.aws/config names, else AWS.

    Asks no server. Raises UserError for a profile, region or endpoint that cannot be.
    """
    # Here, not above: importing it takes a third of a second, which a run without S3 need not wait.
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, PartialCredentialsError

    config = Config(
        connect_timeout=limits.connect_s,
        read_timeout=limits.read_s,
        # Attempts are ours to make: those of one layer alone can be bounded.
        retries={"total_max_attempts": 1},
        # We send and check SHA-256; not every server of S3's protocol knows botocore's defaults.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        tcp_keepalive=True,
    )
    try:
        # A session of its own: the default one may not be shared between threads.
        return boto3.session.Session().client("s3", config=config)
    except PartialCredentialsError as error:
        raise lasting_error(error, str(address)) from None
    except BotoCoreError as error:
        raise UserError(
            f"{address}: boto3 refuses its settings ({type(error).__name__}); correct AWS_PROFILE, "
            "AWS_REGION or ~/.aws/config"
        ) from None
    except ValueError:  # its text repeats the endpoint, which may hold a password
        raise UserError(
            f"{address}: AWS_ENDPOINT_URL is no address; it must look like https://host:port"
        ) from None
