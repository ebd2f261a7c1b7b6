"""A real S3 server that fails: named errors are tried again, the user's are explained."""

import hashlib

import pytest

from pipeline.core.errors import UserError
from pipeline.storage.s3 import S3Folder
from pipeline.storage.s3_errors import S3AnswerError, S3DamagedError, S3UnavailableError
from tests.support.s3_server import PART, QUICK, SECRET, serve_s3

PASSING = [
    "500 InternalError",
    "502 BadGateway",
    "503 SlowDown",
    "503 ServiceUnavailable",
    "504 GatewayTimeout",
    "429 TooManyRequests",
    "400 RequestTimeout",
    "400 BadDigest",
    "drop",
    "lose",
]


@pytest.fixture(scope="module")
def server():
    with serve_s3() as server:
        yield server


@pytest.fixture
def folder(server):
    return server.folder()


@pytest.mark.parametrize("kind", PASSING)
def test_every_request_survives_errors_that_pass(folder, server, tmp_path, kind):
    source = tmp_path / "source"
    source.write_bytes(b"a" * (PART + 1))
    server.fail(kind, times=3, method="PUT")
    server.fail(kind, times=3, method="POST", path=r"\?uploads")
    server.fail(kind, times=3, method="POST", path="uploadId")
    server.fail(kind, times=2, method="GET")
    if not kind.startswith("400"):  # HEAD's answer has no body to tell these from others
        server.fail(kind, times=2, method="HEAD")
    folder.put("small", b"abc")
    assert folder.upload(source, "large")
    assert folder.get("small") == b"abc"
    assert len(list(folder.list())) == 2
    folder.download("large", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == source.read_bytes()
    server.fail(kind, times=3, method="DELETE")
    folder.delete("small")
    assert folder.head("small") is None


def test_slow_answers_are_given_up_and_asked_for_again(folder, server):
    folder.put("x", b"abc")
    server.fail("delay", seconds=0.7, times=2)
    assert folder.get("x") == b"abc"
    assert server.count("GET") == 3


def test_slow_links_are_waited_for(folder, server, tmp_path):
    folder.put("x", b"abc" * 1000)
    server.fail("trickle", seconds=0.1, method="GET")
    folder.download("x", tmp_path / "x")  # takes longer than one wait for bytes may
    assert server.count("GET") == 1


def test_attempts_are_bounded_and_the_error_is_clear(folder, server, tmp_path):
    server.fail("503 SlowDown")
    with pytest.raises(S3UnavailableError) as caught:
        folder.put("x", b"abc")
    assert server.count("PUT") == QUICK.attempts
    assert str(caught.value) == (
        f"writing {folder.address}/x: failed repeatedly, last with 503 SlowDown; see that the "
        "network and the endpoint work, then run the same command again"
    )


@pytest.mark.parametrize("kind", ["truncate", "corrupt"])
def test_spoiled_bodies_are_fetched_again_and_never_left(folder, server, tmp_path, kind):
    body = bytes(range(256)) * 10000
    folder.put("x", body)
    server.fail(kind, method="GET", times=2)
    folder.download("x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == body
    server.heal()
    server.fail(kind, method="GET", times=2)
    assert folder.get("x") == body
    server.heal()
    server.fail(kind, method="GET")
    with pytest.raises(UserError, match=f"downloading {folder.address}/x: ") as caught:
        folder.download("x", tmp_path / "y")
    assert (kind == "corrupt") == isinstance(caught.value, S3DamagedError)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_broken_download_fetches_the_broken_part_alone(folder, server, tmp_path):
    body = hashlib.shake_128(b"seed").digest(2 * PART + 5)
    folder.put("x", body)
    server.fail("truncate", method="GET", times=3)
    folder.download("x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == body
    parts = [f"bytes=0-{PART - 1}", f"bytes={PART}-{2 * PART - 1}", f"bytes={2 * PART}-"]
    assert set(server.ranges) == set(parts)
    assert len(server.ranges) == len(parts) + 3


def test_an_upload_that_was_completed_unheard_counts(folder, server, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"a" * (PART + 1))
    server.fail("lose", method="POST", path="uploadId", times=1)
    server.fail("404 NoSuchUpload", method="POST", path="uploadId", times=1)
    assert folder.upload(path, "x")
    server.fail("404 NoSuchUpload", method="PUT", path="partNumber")
    with pytest.raises(S3AnswerError, match="S3 answers NoSuchUpload"):
        folder.upload(path, "y")


def test_wrong_bytes_on_the_way_up_are_refused_and_sent_again(folder, server, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"a" * (PART + 1))
    server.fail("corrupt upload", method="PUT", times=2)
    folder.put("small", b"abc")
    server.fail("corrupt upload", method="PUT", times=2)
    folder.upload(path, "large")
    server.heal()
    assert folder.get("small") == b"abc"
    folder.download("large", tmp_path / "y")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("403 AccessDenied", "access is denied; let these credentials do s3:ListBucket"),
        ("403 InvalidAccessKeyId", "correct AWS_ACCESS_KEY_ID"),
        ("403 SignatureDoesNotMatch", "correct AWS_SECRET_ACCESS_KEY"),
        ("400 ExpiredToken", "renew the credentials"),
        ("403 RequestTimeTooSkewed", "clock"),
    ],
)
def test_the_users_mistakes_are_explained_at_once(folder, server, tmp_path, kind, says):
    server.fail(kind)
    (tmp_path / "file").write_bytes(b"abc")
    calls = {
        "writing": lambda: folder.put("x", b""),
        "reading": lambda: folder.get("x"),
        "listing": lambda: list(folder.list()),
        "deleting": lambda: folder.delete("x"),
    }
    for verb, call in calls.items():
        with pytest.raises(UserError, match=rf"^{verb} s3://[^\n]+$") as caught:
            call()
        assert says in str(caught.value)
        assert SECRET not in str(caught.value)
    assert server.count("PUT") + server.count("DELETE") == 2
    with pytest.raises(UserError, match=r"^looking at s3://"):  # HEAD has no body to say more
        folder.upload(tmp_path / "file", "x")


def test_missing_bucket(server, tmp_path):
    server.heal()
    folder = S3Folder("s3://no-such-bucket/a", QUICK)
    (tmp_path / "file").write_bytes(b"abc")
    for call in (
        lambda: list(folder.list()),
        lambda: folder.upload(tmp_path / "file", "file"),
        lambda: folder.get("x"),
    ):
        with pytest.raises(UserError, match=r"s3://no-such-bucket/a.*: the bucket does not exist"):
            call()


def test_answers_that_nobody_can_mend_keep_their_name(folder, server):
    server.fail("418 Teapot")
    with pytest.raises(S3AnswerError, match=r"writing .*: S3 answers Teapot"):
        folder.put("x", b"")


def test_no_credentials(server, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UserError, match="there are no AWS credentials; set AWS_ACCESS_KEY_ID"):
        S3Folder("s3://bucket", QUICK).get("x")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "only-half")
    with pytest.raises(UserError, match="incomplete") as caught:
        S3Folder("s3://bucket", QUICK).get("x")
    assert "only-half" not in str(caught.value)


def test_impossible_settings(server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"user:{SECRET}@nowhere")
    with pytest.raises(UserError, match="AWS_ENDPOINT_URL is no address") as caught:
        S3Folder("s3://bucket", QUICK)
    assert SECRET not in str(caught.value)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(UserError, match="ProfileNotFound"):
        S3Folder("s3://bucket", QUICK)


def test_nobody_listens(server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://me:{SECRET}@127.0.0.1:9")
    with pytest.raises(S3UnavailableError, match="last with no connection") as caught:
        S3Folder("s3://bucket", QUICK).get("x")
    assert SECRET not in str(caught.value)
