"""SHA-256 digests of files and of plain data."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def sha256_file(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_sources(root: Path, patterns: Iterable[str]) -> str:
    """Hex SHA-256 over names and contents of the files below `root` that match a pattern."""
    paths = sorted(path for pattern in patterns for path in root.glob(pattern))
    names = {str(path.relative_to(root)): path for path in paths}
    return digest_json({name: sha256_file(path) for name, path in names.items()})


def digest_json(content: Any) -> str:
    """Hex SHA-256 of the content's canonical JSON: independent of key order and of white space.

    Raises TypeError for what JSON cannot hold and ValueError for NaN and infinity.
    """
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
