"""`manifest.json`: the content of a folder of shards, and the digest that names the data set."""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

from pipeline.core.errors import UserError
from pipeline.storage.atomic import write_json
from pipeline.storage.digest import digest_json

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
SPLITS = ("train", "heldout")
LIST_FILES = ("rejected.jsonl", "duplicates.jsonl")
"""Lists for users beside the shards; no reader needs them."""

SHARD_FILE = re.compile(r"(train|heldout)-\d{5}\.arrow", re.ASCII)
# Not in the digest: another path or library version alone is the same data set, and observations
# follow from the content.
_NO_IDENTITY = ("name", "source", "observations", "digest")
# Fields that manifests of earlier versions lack.
_ABSENT: Mapping[str, Any] = {"observations": {}}


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardEntry:
    """One shard file."""

    file: str
    """Name within the folder: `train-00000.arrow`."""
    rows: int
    """Images in it."""
    bytes: int
    """Size of the file."""
    sha256: str
    """Hex SHA-256 of the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """One side of the split, `train` or `heldout`."""

    rows: int
    """Images in it."""
    class_counts: tuple[int, ...]
    """Images of each class."""
    shards: tuple[ShardEntry, ...]
    """Its files in the order of the rows; none when it is empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Content of a folder of shards."""

    format_version: int
    """Version of the shards' layout."""
    name: str
    """Name for display; the digest is the identity."""
    resolution: int
    """Side of the square images, pixels."""
    channels: int
    """1 (grey) or 3 (RGB)."""
    class_names: tuple[str, ...]
    """Names of labels 0, 1, ..."""
    rows: int
    """Images of all splits."""
    splits: Mapping[str, Split]
    """`train` and `heldout`."""
    source: Mapping[str, Any]
    """Kind and path of the source."""
    preprocessing: Mapping[str, Any]
    """Preprocessing of the images; `versions` has those of the libraries."""
    digest: str
    """Hex SHA-256 of all that identifies the data set: its content and its preprocessing."""
    observations: Mapping[str, Any] = field(default_factory=dict)
    """Results of the data checks: `warnings`, `note`, `rejected`, `duplicates`, `enlarged`."""


def identity_digest(manifest: Manifest) -> str:
    """The digest of a manifest of this content."""
    content = {k: v for k, v in dataclasses.asdict(manifest).items() if k not in _NO_IDENTITY}
    content["preprocessing"].pop("versions", None)
    return digest_json(content)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes `manifest.json` with a checksum over all of its content; call it last."""
    write_json(folder / MANIFEST_FILE, _sealed(dataclasses.asdict(manifest)))


def read_manifest(folder: Path) -> Manifest:
    """Reads and checks `manifest.json`; raises UserError naming it when missing or damaged."""
    path = folder / MANIFEST_FILE
    try:
        text = path.read_bytes().decode("ascii")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; make the shards with `dvc repro shard`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise _damaged(path, "it is not valid JSON") from None
    if not isinstance(content, dict) or content.pop("checksum", None) is None:
        raise _damaged(path, "it has no checksum")
    try:
        # The bytes are compared, not only the content: any flipped bit is found.
        intact = json.dumps(_sealed(content), indent=2, allow_nan=False) + "\n" == text
    except (ValueError, RecursionError):
        intact = False
    if not intact:
        raise _damaged(path, "its content does not match its checksum")
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {version}, this program reads {FORMAT_VERSION}; "
            "write the shards anew with `dvc repro --force shard`"
        )
    try:
        manifest: Manifest = _parse(Manifest, content)
        _check(manifest)
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    return manifest


def _sealed(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "checksum": digest_json(content)}


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path} is damaged: {reason}; write the shards anew with `dvc repro --force shard`"
    )


def _parse(kind: Any, value: Any) -> Any:
    """Plain JSON as the dataclass, tuple, mapping or scalar `kind`; ValueError where it is not."""
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, dict):
        fields = {field.name: field.type for field in dataclasses.fields(kind)}
        value = {**_ABSENT, **value} if kind is Manifest else value
        if value.keys() != fields.keys():
            raise ValueError(f"{kind.__name__} has keys {sorted(value)}, not {sorted(fields)}")
        return kind(**{name: _parse(fields[name], value[name]) for name in fields})
    if origin is tuple and isinstance(value, list):
        return tuple(_parse(arguments[0], item) for item in value)
    if origin is Mapping and isinstance(value, dict):
        return {key: _parse(arguments[1], item) for key, item in value.items()}
    if kind is Any or type(value) is kind:
        return value
    raise ValueError(f"{value!r} stands where {kind} belongs")


def _check(manifest: Manifest) -> None:
    if set(manifest.splits) != set(SPLITS):
        raise ValueError(f"its splits are {sorted(manifest.splits)}, not {sorted(SPLITS)}")
    if manifest.resolution < 1 or manifest.channels not in (1, 3) or not manifest.class_names:
        raise ValueError("its images have no valid shape or class")
    if manifest.rows != sum(split.rows for split in manifest.splits.values()):
        raise ValueError("its splits' rows do not add up")
    for name, split in manifest.splits.items():
        if (
            split.rows != sum(shard.rows for shard in split.shards)
            or split.rows != sum(split.class_counts)
            or len(split.class_counts) != len(manifest.class_names)
            or min(split.class_counts) < 0
        ):
            raise ValueError(f"the counts of split {name} do not add up")
        for shard in split.shards:
            # A name is joined to the folder's path: it must not lead out of it.
            if not SHARD_FILE.fullmatch(shard.file) or shard.rows < 1:
                raise ValueError(f"split {name} has an invalid shard {shard.file!r}")
    if manifest.digest != identity_digest(manifest):
        raise ValueError("its digest is not that of its content")
