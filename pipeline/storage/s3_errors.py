"""Errors of S3 as one sentence with the cure."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.core.errors import UserError

_NEEDED = "s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject"
_CURES = {
    "NoSuchBucket": "the bucket does not exist; create it or correct the address",
    "AccessDenied": f"access is denied; let these credentials do {_NEEDED} there",
    "InvalidAccessKeyId": "S3 does not accept the access key; correct AWS_ACCESS_KEY_ID or ~/.aws",
    "SignatureDoesNotMatch": "S3 refuses the secret key; correct AWS_SECRET_ACCESS_KEY or ~/.aws",
    "ExpiredToken": "the session's token has expired; renew the credentials",
    "InvalidToken": "S3 refuses the session's token; renew the credentials",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "PermanentRedirect": "the bucket is in another region; set AWS_REGION to it",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set AWS_REGION to it",
    "InvalidBucketName": "S3 does not accept the bucket's name; correct the address",
    # S3 answers HEAD without a body that would say more.
    "400": "S3 refuses the request; renew the credentials and see that AWS_REGION is the bucket's",
}
_CURES_BY_STATUS = {
    301: _CURES["PermanentRedirect"],
    401: _CURES["AccessDenied"],
    403: _CURES["AccessDenied"],
}
_UNAVAILABLE_STATUS = (429, 500, 502, 503, 504)
_UNAVAILABLE_CODES = {
    "BadDigest",
    "IncompleteBody",
    "RequestTimeout",
    "RequestTimeoutException",
    "SlowDown",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
}


class S3UnavailableError(UserError):
    """S3 failed in all attempts."""


class S3DamagedError(UserError):
    """An object, or a file to become one, does not match its checksum."""


class S3AnswerError(Exception):
    """S3 refused a request for a reason that neither another attempt nor the user can mend."""

    def __init__(self, what: str, code: str) -> None:
        super().__init__(f"{what}: S3 answers {code}")
        self.code = code


class WrongBodyError(Exception):
    """A body broke off (the cause says how) or is not the object's; it may be fetched again."""


@contextmanager
def explain_errors(what: str) -> Iterator[None]:
    """A context that raises `explain_error` of every exception in it."""
    try:
        yield
    except Exception as error:  # botocore's have no other base
        explained = explain_error(error, what)
        if explained is error:
            raise
        raise explained from None


def explain_error(error: Exception, what: str) -> Exception:
    """The exception to raise for one that was met while doing `what`, which begins its sentence.

    A UserError with the cure; FileNotFoundError for no such object; S3AnswerError for another
    answer of S3's; any other exception itself. The text of botocore's is not repeated: it may hold
    the endpoint's credentials.
    """
    from botocore import exceptions

    cause = _cause(error)
    if isinstance(cause, exceptions.ClientError):
        return _explain_answer(cause, what)
    if isinstance(cause, exceptions.NoCredentialsError):
        return UserError(
            f"{what}: there are no AWS credentials; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, run `aws configure`, or give the machine a role"
        )
    if isinstance(
        cause,
        exceptions.PartialCredentialsError
        | exceptions.CredentialRetrievalError
        | exceptions.TokenRetrievalError
        | exceptions.SSOError
        | exceptions.NoAuthTokenError,
    ):
        return UserError(
            f"{what}: the AWS credentials are incomplete or cannot be fetched "
            f"({type(cause).__name__}); see `aws sts get-caller-identity`"
        )
    if isinstance(cause, exceptions.SSLError):
        return UserError(
            f"{what}: the endpoint's TLS certificate is not trusted; set AWS_CA_BUNDLE to its "
            "authority or correct AWS_ENDPOINT_URL"
        )
    if isinstance(cause, WrongBodyError):
        return S3DamagedError(
            f"{what}: the object is not what its checksum promises; delete it and upload it again"
        )
    reason = _connection_failure(cause)
    return error if reason is None else _unavailable(what, reason)


def error_code(error: Exception) -> str | None:
    """S3's name of the error, such as `NoSuchKey`; None for one that S3 did not send."""
    from botocore.exceptions import ClientError

    cause = _cause(error)
    return str(cause.response["Error"].get("Code")) if isinstance(cause, ClientError) else None


def _cause(error: Exception) -> Exception:
    """The exception that boto3's transfer, or WrongBodyError, wraps; else the exception itself."""
    from boto3.exceptions import S3UploadFailedError
    from s3transfer import exceptions

    if isinstance(error, exceptions.RetriesExceededError):
        error = error.last_exception
    elif isinstance(error, S3UploadFailedError) and isinstance(error.__context__, Exception):
        error = error.__context__
    elif isinstance(error, WrongBodyError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _explain_answer(error: Exception, what: str) -> Exception:
    code = error_code(error) or ""
    response = getattr(error, "response", {})
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if status in _UNAVAILABLE_STATUS or code in _UNAVAILABLE_CODES:
        return _unavailable(what, f"{status} {code}")
    if code in ("NoSuchKey", "404"):
        return FileNotFoundError(f"{what}: there is no such object")
    cure = _CURES.get(code) or _CURES_BY_STATUS.get(status)
    return UserError(f"{what}: {cure}") if cure else S3AnswerError(what, code)


def _unavailable(what: str, reason: str) -> S3UnavailableError:
    return S3UnavailableError(
        f"{what}: failed repeatedly, last with {reason}; see that the network and the endpoint "
        "work, then run the same command again"
    )


def _connection_failure(error: Exception) -> str | None:
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    if isinstance(error, exceptions.ConnectTimeoutError | exceptions.ReadTimeoutError):
        return "no answer in time"
    if isinstance(error, exceptions.EndpointConnectionError | exceptions.ProxyConnectionError):
        return "no connection"
    if isinstance(
        error,
        exceptions.HTTPClientError
        | exceptions.IncompleteReadError
        | ResponseParserError
        | ConnectionError
        | TimeoutError,
    ):
        return "connection broken"
    return None
