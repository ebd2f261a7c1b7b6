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


def digest_sources(root: Path, sources: Iterable[str]) -> str:
    """Hex SHA-256 over names and contents of Python files below `root`.

    Each source is a file or a folder, all of whose Python files count.
    """
    paths: set[Path] = set()
    for source in sources:
        path = root / source
        paths |= set(path.rglob("*.py")) if path.is_dir() else {path}
    return digest_json({str(path.relative_to(root)): sha256_file(path) for path in sorted(paths)})


def digest_json(content: Any) -> str:
    """Hex SHA-256 of the content's canonical JSON: independent of key order and white space.

    Raises TypeError for values that JSON does not have, ValueError for NaN and infinity.
    """
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
