"""Weights in a bucket: fetched once, known by their hash, fetched anew when they are replaced."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipeline.config.schema import ReferenceSection
from pipeline.core.errors import UserError
from pipeline.evaluation.extractors.open_extractor import open_extractor
from pipeline.evaluation.extractors.weights import fetch_from_s3, weight_sources
from pipeline.storage.digest import sha256_file
from pipeline.storage.s3_address import parse_s3_address
from pipeline.storage.s3_client import S3Limits, open_client
from tests.support.s3_server import FaultyS3, serve_s3


@pytest.fixture(scope="module")
def s3() -> Iterator[FaultyS3]:
    """A server that boto3 finds."""
    with serve_s3() as server:
        yield server


def _put(bucket: str, name: str, content: bytes) -> None:
    # As strangers upload, without our metadata; with the usual time limits, for a busy machine.
    client = open_client(parse_s3_address(bucket), S3Limits())
    client.put_object(Bucket=bucket.removeprefix("s3://"), Key=name, Body=content)


def test_inception_comes_from_a_bucket(s3: FaultyS3, inception_file: Path, tmp_path: Path) -> None:
    bucket = s3.new_bucket()
    address = f"{bucket}/nets/w.pth"
    content = inception_file.read_bytes()
    _put(bucket, "nets/w.pth", content)
    sources = weight_sources(ReferenceSection(inception_weights=address), str(tmp_path))
    found = open_extractor("inception-v3-compat", tmp_path, sources, "cpu", image_size=32)
    assert found.weights_sha256 == sha256_file(inception_file)
    assert found.extract(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))[0].shape == (1, 2048)
    s3.heal()
    assert fetch_from_s3(address, "key", tmp_path).read_bytes() == content
    assert s3.count("GET", "w.pth") == 0  # the second time it is there


def test_a_replaced_file_is_fetched_anew(s3: FaultyS3, tmp_path: Path) -> None:
    bucket = s3.new_bucket()
    paths = []
    for content in (b"old", b"new", b"old"):
        _put(bucket, "w", content)
        paths.append(fetch_from_s3(f"{bucket}/w", "key", tmp_path))
        assert paths[-1].read_bytes() == content
    assert paths[0] == paths[2]  # it is known again
    assert sorted(tmp_path.joinpath("weights").iterdir()) == sorted(set(paths))


def test_a_cut_download_leaves_nothing(s3: FaultyS3, tmp_path: Path) -> None:
    bucket = s3.new_bucket()
    _put(bucket, "w", b"x" * 1000)
    s3.fail("403 AccessDenied", method="GET")
    with pytest.raises(UserError, match=f"downloading {bucket}/w: access is denied"):
        fetch_from_s3(f"{bucket}/w", "key", tmp_path)
    s3.heal()
    assert list(tmp_path.joinpath("weights").iterdir()) == []
    shutil.rmtree(tmp_path / "weights")
    assert fetch_from_s3(f"{bucket}/w", "key", tmp_path).read_bytes() == b"x" * 1000


def test_what_is_not_there_is_refused(s3: FaultyS3, tmp_path: Path) -> None:
    bucket = s3.new_bucket()
    with pytest.raises(UserError, match=f"key: there is no {bucket}/a/w; correct the address"):
        fetch_from_s3(f"{bucket}/a/w", "key", tmp_path)
    with pytest.raises(UserError, match=f"key: {bucket} names no file"):
        fetch_from_s3(bucket, "key", tmp_path)
