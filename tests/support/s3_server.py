"""A real S3 server on loopback, behind a layer that makes what networks and S3 do go wrong."""

import base64
import hashlib
import io
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from pipeline.storage.s3 import S3Folder
from pipeline.storage.s3_address import parse_s3_address
from pipeline.storage.s3_client import S3Limits, open_client

PART = 5 << 20
QUICK = S3Limits(connect_s=1, read_s=0.5, attempts=4, part_bytes=PART)
SECRET = "never-to-be-printed"

_ERROR = (
    '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}</Message>'
    "<RequestId>1</RequestId></Error>"
)


@dataclass
class Fault:
    """What goes wrong with the next `times` requests that match."""

    kind: str
    """A status such as `503 SlowDown`, or: drop, lose (done, but the answer dropped), truncate,
    corrupt, corrupt upload, delay, trickle."""
    method: str = ".*"
    path: str = ".*"
    """A regular expression for the path and its query."""
    times: int = 10**9
    seconds: float = 0.0
    """For delay, and between the pieces of trickle."""


class FaultyS3:
    """The WSGI layer; as S3 does, and moto does not, it checks the SHA-256 of what is uploaded."""

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        """Method and path with query of all that came."""
        self.ranges: list[str] = []
        """What of an object each GET asked for; empty: all of it."""
        self.on_request: Callable[[], None] = lambda: None
        """Called as each request comes."""
        self.url = ""
        self.most_at_once = 0
        """Requests that were in progress together."""
        self._num_running = 0

    def fail(self, kind: str, **changes: Any) -> Fault:
        """Adds a fault."""
        fault = Fault(kind, **changes)
        with self._lock:
            self._faults.append(fault)
        return fault

    def heal(self) -> None:
        """Ends all faults and forgets the requests."""
        with self._lock:
            self._faults.clear()
            self.requests.clear()
            self.ranges.clear()
            self.most_at_once = 0

    def forget_the_dead(self) -> None:
        """Lets no request of a killed client take effect any more; ends all faults."""
        self.fail("drop")
        while self._num_running:
            time.sleep(0.01)
        self.heal()

    def new_bucket(self) -> str:
        """`s3://<bucket>` of an empty bucket, with all faults ended."""
        self.heal()
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        # With the usual limits: a busy machine may take longer than the quick ones allow.
        open_client(parse_s3_address("s3://any-bucket"), S3Limits()).create_bucket(Bucket=name)
        self.heal()
        return f"s3://{name}"

    def folder(self) -> S3Folder:
        """A folder in an empty bucket; making its client anew would take half a second."""
        address = parse_s3_address(f"{self.new_bucket()}/a/b")
        return S3Folder(address, QUICK, self.client)

    @cached_property
    def client(self) -> Any:
        """A client as the project makes it, with QUICK limits."""
        return open_client(parse_s3_address("s3://any-bucket"), QUICK)

    def count(self, method: str, path: str = ".*") -> int:
        """How many requests came since."""
        return sum(m == method and bool(re.search(path, p)) for m, p in list(self.requests))

    def __call__(self, environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        with self._lock:
            self._num_running += 1
            self.most_at_once = max(self.most_at_once, self._num_running)
        try:
            return self._handle(environ, start_response)
        finally:
            with self._lock:
                self._num_running -= 1

    def _handle(self, environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        self.on_request()
        fault = self._next_fault(environ)
        kind = fault.kind if fault else ""
        if fault is not None and kind == "delay":
            time.sleep(fault.seconds)
        if kind == "drop":
            _drop(environ)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if kind[:1].isdigit():
            return _answer(environ, start_response, kind)
        if kind == "corrupt upload" and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        promised = environ.get("HTTP_X_AMZ_CHECKSUM_SHA256")
        if promised and promised != base64.b64encode(hashlib.sha256(body).digest()).decode():
            return _answer(environ, start_response, "400 BadDigest")
        environ["wsgi.input"] = io.BytesIO(body)
        answer = self._app(environ, start_response)
        if kind == "lose":
            b"".join(answer)
            _drop(environ)
        if kind in ("truncate", "corrupt", "trickle"):
            return _spoil(environ, b"".join(answer), kind, fault.seconds if fault else 0)
        return answer

    def _next_fault(self, environ: dict[str, Any]) -> Fault | None:
        method = environ["REQUEST_METHOD"]
        path = f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}"
        with self._lock:
            self.requests.append((method, path))
            if method == "GET":
                self.ranges.append(environ.get("HTTP_RANGE", ""))
            for fault in self._faults:
                matches = re.fullmatch(fault.method, method) and re.search(fault.path, path)
                if fault.times > 0 and matches:
                    fault.times -= 1
                    return fault
        return None


def _answer(environ: dict[str, Any], start_response: Callable, status: str) -> Iterable[bytes]:
    content = _ERROR.format(code=status.partition(" ")[2]).encode()
    if environ["REQUEST_METHOD"] == "HEAD":
        content = b""
    start_response(status, [("Content-Length", str(len(content)))])
    return [content]


def _drop(environ: dict[str, Any]) -> None:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError


def _spoil(environ: dict[str, Any], content: bytes, kind: str, seconds: float) -> Iterator[bytes]:
    if kind == "corrupt":
        yield content[:-1] + bytes([content[-1] ^ 1])
    elif kind == "truncate":
        yield content[: len(content) // 2]
        _drop(environ)
    else:
        step = len(content) // 8 + 1
        for start in range(0, len(content), step):
            yield content[start : start + step]
            time.sleep(seconds)


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # without it botocore waits in vain for 100 Continue

    def log_request(self, *arguments: object) -> None:
        pass


@contextmanager
def serve_s3() -> Iterator[FaultyS3]:
    """A server of this process; boto3 finds it, and false credentials, in the environment."""
    layer = FaultyS3()
    server = make_server("127.0.0.1", 0, layer, threaded=True, request_handler=_Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    layer.url = f"http://127.0.0.1:{server.server_port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": layer.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }.items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "HTTP_PROXY", "http_proxy"):
            patch.delenv(name, raising=False)
        # Retries of this process come at once: botocore's pauses of seconds are not the subject.
        patch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda s: time.sleep(s / 50)))
        yield layer
    server.shutdown()
    thread.join()
    server.server_close()
