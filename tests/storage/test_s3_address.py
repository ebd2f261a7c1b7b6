"""What is an S3 address and what is not."""

import pytest

from pipeline.core.errors import UserError
from pipeline.storage.s3_address import S3Address, parse_s3_address


def test_bucket_and_prefix():
    assert parse_s3_address("s3://my.bucket-1") == S3Address("my.bucket-1", "")
    assert parse_s3_address("s3://bucket/") == S3Address("bucket", "")
    address = parse_s3_address("s3://bucket/runs/a b/\u00e9/")
    assert address == S3Address("bucket", "runs/a b/\u00e9")
    assert str(address) == "s3://bucket/runs/a b/\u00e9"
    assert (address / "x").key("y.pt") == "runs/a b/\u00e9/x/y.pt"
    assert S3Address("bucket", "").key("y.pt") == "y.pt"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("bucket/prefix", "must look like s3://bucket/prefix"),
        ("S3://bucket", "must look like"),
        ("https://bucket.s3.amazonaws.com/x", "must look like"),
        ("s3://", "names no possible bucket: ''"),
        ("s3:///prefix", "names no possible bucket: ''"),
        ("s3://My_Bucket/x", "names no possible bucket: 'My_Bucket'"),
        ("s3://ab/x", "3 to 63"),
        ("s3://-bucket/x", "at both ends"),
        ("s3://bucket..a/x", "names no possible bucket"),
        ("s3://bucket//x", "an empty, `.` or `..` part"),
        ("s3://bucket/a/../b", "an empty, `.` or `..` part"),
        ("s3://bucket/a\nb", "a prefix that S3 does not take"),
        ("s3://bucket/" + "a" * 1025, "at most 1024 bytes"),
    ],
)
def test_mistakes_are_named(text, says):
    with pytest.raises(UserError, match=r"^[^\n]+$") as caught:
        parse_s3_address(text)
    assert says in str(caught.value)


def test_credentials_in_an_address_are_not_repeated():
    with pytest.raises(UserError, match="bucket 'bucket' holds credentials") as caught:
        parse_s3_address("s3://AKIAKEY:topsecret@bucket/prefix")
    assert "topsecret" not in str(caught.value)
    assert "AKIAKEY" not in str(caught.value)
