"""What an error of S3's means: try again, or tell the user what to do."""

from pipeline.core.errors import UserError

_TRANSIENT_STATUS = (429, 500, 502, 503, 504)
_TRANSIENT_CODES = {
    "BadDigest",
    "IncompleteBody",
    "InternalError",
    "RequestLimitExceeded",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
}
_NEEDED = "s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject"
_CURES = {
    "NoSuchBucket": "the bucket does not exist; create it or correct the address",
    "AccessDenied": f"access is denied; let these credentials do {_NEEDED} there",
    "InvalidAccessKeyId": "S3 does not know the access key; correct AWS_ACCESS_KEY_ID or ~/.aws",
    "SignatureDoesNotMatch": "S3 refuses the secret key; correct AWS_SECRET_ACCESS_KEY or ~/.aws",
    "ExpiredToken": "the session's token has expired; renew the credentials",
    "InvalidToken": "S3 refuses the session's token; renew the credentials",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "PermanentRedirect": "the bucket is in another region; set AWS_REGION to it",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set AWS_REGION to it",
    "InvalidBucketName": "S3 does not take the bucket's name; correct the address",
    # S3 answers HEAD without a body that would say more.
    "400": "S3 refuses the request; renew the credentials and see that AWS_REGION is the bucket's",
}
_CURES_BY_STATUS = {
    301: _CURES["PermanentRedirect"],
    401: _CURES["AccessDenied"],
    403: _CURES["AccessDenied"],
}


class S3UnavailableError(UserError):
    """S3 did not do what was asked in all the attempts that it was given."""


class S3DamagedError(UserError):
    """An object, or a file to become one, is not what its checksum promises."""


class S3AnswerError(Exception):
    """S3 refused a request for a reason that neither waiting nor the user's hands would mend."""

    def __init__(self, what: str, code: str) -> None:
        super().__init__(f"{what}: S3 answers {code}")
        self.code = code


class WrongBodyError(Exception):
    """A body came that is not the object; another attempt may bring the right one."""


def error_code(error: Exception) -> str | None:
    """S3's name of the error, such as `NoSuchKey`; None for one that S3 did not send."""
    from botocore.exceptions import ClientError

    return str(error.response["Error"].get("Code")) if isinstance(error, ClientError) else None


def transient_reason(error: Exception) -> str | None:
    """A few words on an error that may pass; None for one that will not.

    Never the error's own text: it may hold the endpoint's credentials.
    """
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    if isinstance(error, exceptions.ClientError):
        status, code = _status(error), error_code(error)
        passes = status in _TRANSIENT_STATUS or code in _TRANSIENT_CODES
        return f"{status} {code}" if passes else None
    if isinstance(error, exceptions.ConnectTimeoutError | exceptions.ReadTimeoutError):
        return "no answer in time"
    if isinstance(error, exceptions.EndpointConnectionError | exceptions.ProxyConnectionError):
        return "no connection"
    if isinstance(
        error,
        exceptions.ConnectionClosedError
        | exceptions.ResponseStreamingError
        | exceptions.IncompleteReadError
        | ResponseParserError
        | ConnectionError,
    ):
        return "connection broken"
    if isinstance(error, exceptions.FlexibleChecksumError | WrongBodyError):
        return "a wrong body"
    return None


def lasting_error(error: Exception, what: str) -> Exception:
    """What to raise for an error, met while doing `what`, that will not pass.

    UserError with its cure; FileNotFoundError for no such object; S3AnswerError for another answer
    of S3's; any other error itself.
    """
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        code = error_code(error) or ""
        if code in ("NoSuchKey", "404"):
            return FileNotFoundError(f"{what}: there is no such object")
        cure = _CURES.get(code) or _CURES_BY_STATUS.get(_status(error))
        return UserError(f"{what}: {cure}") if cure else S3AnswerError(what, code)
    if isinstance(error, exceptions.NoCredentialsError):
        return UserError(
            f"{what}: there are no AWS credentials; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, run `aws configure`, or give the machine a role"
        )
    if isinstance(
        error,
        exceptions.PartialCredentialsError
        | exceptions.CredentialRetrievalError
        | exceptions.TokenRetrievalError
        | exceptions.SSOError
        | exceptions.NoAuthTokenError,
    ):
        return UserError(
            f"{what}: the AWS credentials are incomplete or cannot be fetched "
            f"({type(error).__name__}); see `aws sts get-caller-identity`"
        )
    if isinstance(error, exceptions.SSLError):
        return UserError(
            f"{what}: the endpoint's TLS certificate is not trusted; set AWS_CA_BUNDLE to its "
            "authority or correct AWS_ENDPOINT_URL"
        )
    return error


def _status(error: Exception) -> int:
    response = getattr(error, "response", {})
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
