"""Uploads a large file in parts, each checked by S3 and tried again alone."""

import base64
import hashlib
from contextlib import suppress
from typing import Any, BinaryIO

from pipeline.core.errors import UserError
from pipeline.storage.s3_attempts import S3Limits, attempt
from pipeline.storage.s3_errors import S3AnswerError, S3DamagedError

_MAX_PARTS = 10_000  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html


def upload_parts(
    client: Any,
    location: dict[str, str],
    file: BinaryIO,
    sha256: str,
    limits: S3Limits,
    what: str,
) -> None:
    """Makes the object at `location` (`Bucket` and `Key`) of `file`, if it is what `sha256` says.

    Raises S3DamagedError when it is not; no object appears then, nor when it is killed.
    """
    _abort_former(client, location, limits, what)
    size = file.seek(0, 2)
    file.seek(0)
    part_bytes = max(limits.part_bytes, -(-size // _MAX_PARTS))
    created = attempt(
        lambda: client.create_multipart_upload(
            **location, ChecksumAlgorithm="SHA256", Metadata={"sha256": sha256}
        ),
        what,
        limits,
    )
    upload = {**location, "UploadId": created["UploadId"]}
    try:
        digest = hashlib.sha256()
        parts: list[dict[str, Any]] = []
        while content := file.read(part_bytes):
            digest.update(content)
            parts.append(_send(client, upload, len(parts) + 1, content, limits, what))
        if digest.hexdigest() != sha256:
            raise S3DamagedError(f"{what}: {file.name} is not what its checksum says")
        _complete(client, upload, parts, limits, what)
    except Exception:
        with suppress(Exception):  # the first error is the one to tell; a later upload aborts it
            client.abort_multipart_upload(**upload)
        raise


def _send(
    client: Any, upload: dict[str, str], number: int, content: bytes, limits: S3Limits, what: str
) -> dict[str, Any]:
    checksum = base64.b64encode(hashlib.sha256(content).digest()).decode()
    reply = attempt(
        lambda: client.upload_part(
            **upload, PartNumber=number, Body=content, ChecksumSHA256=checksum
        ),
        what,
        limits,
    )
    return {"PartNumber": number, "ETag": reply["ETag"], "ChecksumSHA256": checksum}


def _complete(
    client: Any, upload: dict[str, str], parts: list[dict[str, Any]], limits: S3Limits, what: str
) -> None:
    try:
        attempt(
            lambda: client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}),
            what,
            limits,
        )
    except S3AnswerError as error:
        # An attempt whose answer was lost may have completed it; the caller looks at the object.
        if error.code != "NoSuchUpload":
            raise


def _abort_former(client: Any, location: dict[str, str], limits: S3Limits, what: str) -> None:
    """Frees the parts that a killed uploader left, which cost their storage."""
    try:
        reply = attempt(
            lambda: client.list_multipart_uploads(
                Bucket=location["Bucket"], Prefix=location["Key"]
            ),
            what,
            limits,
        )
        for upload in reply.get("Uploads", ()):
            if upload["Key"] == location["Key"]:
                client.abort_multipart_upload(**location, UploadId=upload["UploadId"])
    except (UserError, S3AnswerError):  # not allowed or not offered, nor needed to upload
        return
