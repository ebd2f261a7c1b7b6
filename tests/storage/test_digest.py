"""Digests have known values and see every change."""

from pathlib import Path

import pytest

from pipeline.storage.digest import digest_json, sha256_file


def test_known_digests_of_files(tmp_path: Path) -> None:
    # FIPS 180-4 example: one million times the letter a.
    (tmp_path / "a").write_bytes(b"a" * 1_000_000)
    expected = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    assert sha256_file(tmp_path / "a") == expected
    (tmp_path / "empty").touch()
    expected = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256_file(tmp_path / "empty") == expected


def test_digest_of_json_depends_on_content_alone() -> None:
    # sha256 of the two bytes {}
    expected = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert digest_json({}) == expected
    assert digest_json({"a": 1, "b": (2, "\u00e9")}) == digest_json({"b": [2, "\u00e9"], "a": 1})
    variants = [{"a": 1}, {"a": 1.5}, {"a": "1"}, {"a": None}, {"a": [1]}, {"b": 1}, {"a": True}]
    assert len({digest_json(variant) for variant in variants}) == len(variants)


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        digest_json({"a": float("inf")})
    with pytest.raises(TypeError):
        digest_json({"a": {1, 2}})
