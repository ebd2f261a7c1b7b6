"""One object on its way into a file; a broken connection goes on where it broke."""

import hashlib
from contextlib import closing
from typing import Any, BinaryIO

from pipeline.storage.s3_errors import S3DamagedError, WrongBodyError, error_code

_BLOCK_BYTES = 1 << 20


class Download:
    """The state of a download between its attempts."""

    def __init__(
        self, client: Any, location: dict[str, str], sha256: str | None, what: str
    ) -> None:
        """`location` is `Bucket` and `Key`; `what` begins the sentence about an error."""
        self._client = client
        self._location = location
        self._expected = sha256
        self._what = what

    def open(self) -> int:
        """Looks at the object, to be fetched from its beginning; returns its size.

        Raises S3DamagedError when its metadata says that it is another than expected.
        """
        reply = self._client.head_object(**self._location)
        stored = reply["Metadata"].get("sha256")
        if self._expected is not None and stored not in (None, self._expected):
            raise S3DamagedError(f"{self._what}: the object is another than its checksum file says")
        self._promised = self._expected or stored
        self._etag, self._size = reply["ETag"], int(reply["ContentLength"])
        self._restart()
        return self._size

    def fetch(self, file: BinaryIO) -> None:
        """One attempt to get into `file` what it still misses; WrongBodyError for a wrong whole."""
        from botocore.exceptions import ClientError

        if self._received < self._size:
            try:
                self._receive(file)
            except ClientError as error:
                if error_code(error) in ("PreconditionFailed", "InvalidRange"):
                    self.open()  # replaced meanwhile
                    raise WrongBodyError from None
                raise
        sound = self._promised in (None, self._digest.hexdigest())
        if self._received != self._size or not sound:
            self._restart()
            raise WrongBodyError
        file.truncate(self._received)

    def _receive(self, file: BinaryIO) -> None:
        position = {"Range": f"bytes={self._received}-"} if self._received else {}
        reply = self._client.get_object(**self._location, IfMatch=self._etag, **position)
        if position and "ContentRange" not in reply:  # a server that sends all of it again
            self._restart()
        file.seek(self._received)
        with closing(reply["Body"]) as body:
            for block in body.iter_chunks(_BLOCK_BYTES):
                file.write(block)
                self._digest.update(block)
                self._received += len(block)

    def _restart(self) -> None:
        self._digest = hashlib.sha256()
        self._received = 0
