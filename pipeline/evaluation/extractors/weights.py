"""Weights of extractors: fetched, hashed, and read without executing what they hold."""

import hashlib
import http.client
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from pipeline.config.extractors import INCEPTION
from pipeline.config.schema import ReferenceSection
from pipeline.core.errors import UserError
from pipeline.storage.s3 import S3Folder
from pipeline.storage.s3_address import S3Address, parse_s3_address

DOWNLOAD = "download"
DEFAULT_CACHE = Path("data/cache")
_CURE = "give the path of a weights file, s3://bucket/key, or `download`"


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightSources:
    """Where the weights of extractors come from."""

    files: Mapping[str, str] = field(default_factory=dict)
    """By extractor, without its precision: a file, `s3://bucket/key` or `download`."""
    cache_dir: Path = DEFAULT_CACHE
    """Where files from S3 are kept on this node."""


def weight_sources(reference: ReferenceSection, cache_dir: str) -> WeightSources:
    """The sources of a configuration, with the cache of `runtime.cache_dir`."""
    files = dict(reference.extractor_weights)
    if reference.inception_weights is not None:
        files[INCEPTION] = reference.inception_weights
    return WeightSources(files=files, cache_dir=Path(cache_dir))


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A weights file that its maker publishes."""

    what: str
    """For people: `the Inception weights`."""
    size: str
    """For people."""
    url: str | None
    """Where it is downloaded from; None for what comes as a package alone."""
    sha256_prefix: str
    """How its hash begins, in hexadecimal digits."""
    file_name: str
    """Under torch's folder of downloads, as torch-fidelity calls it: it is downloaded once."""

    def matches(self, sha256: str) -> bool:
        """Whether this is the hex SHA-256 of the published file."""
        return sha256.startswith(self.sha256_prefix)


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsFile:
    """A file at hand."""

    path: Path
    sha256: str
    official: bool
    """Whether it is the published one."""


def find_weights(source: str, published: Published, key: str, cache_dir: Path) -> WeightsFile:
    """The file that `source` names: a path, `s3://bucket/key`, or `download`.

    `key` is that of the configuration. Raises UserError when it cannot be had, and when a download
    is not what its publisher promises.
    """
    if source == DOWNLOAD:
        path = _download(published, key)
    elif source.startswith("s3://"):
        path = fetch_from_s3(source, key, cache_dir)
    else:
        path = Path(source)
    sha256 = hash_weights(path, key)
    official = published.matches(sha256)
    if source == DOWNLOAD and not official:
        raise UserError(
            f"{path} is not what {published.url} promises: its SHA-256 begins with {sha256[:8]}, "
            f"not {published.sha256_prefix[:8]}; delete it to download it again"
        )
    return WeightsFile(path=path, sha256=sha256, official=official)


def hash_weights(path: Path, key: str, cure: str = _CURE) -> str:
    """The hex SHA-256 of a file; raises UserError, which ends in `cure`, where it is unreadable."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{key}: {path} cannot be read ({error.strerror}); {cure}") from None


def fetch_from_s3(address: str, key: str, cache_dir: Path) -> Path:
    """A copy in `cache_dir`; an object that was replaced is fetched anew. Raises UserError."""
    parsed = parse_s3_address(address)
    prefix, _, name = parsed.prefix.rpartition("/")
    if not name:
        raise UserError(f"{key}: {address} names no file; write s3://bucket/key")
    folder = S3Folder(S3Address(parsed.bucket, prefix))
    found = folder.head(name)
    if found is None:
        raise UserError(f"{key}: there is no {address}; correct the address or upload the file")
    version = hashlib.sha256(f"{address} {found.etag}".encode()).hexdigest()[:16]
    path = cache_dir / "weights" / f"{version}-{name}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # A folder of its own for each process that fetches it at the same time.
        with tempfile.TemporaryDirectory(dir=path.parent) as own:
            folder.download(name, Path(own) / name)
            os.replace(Path(own) / name, path)
    return path


def read_tensors(path: Path, key: str, what: str) -> dict[str, torch.Tensor]:
    """A state dict, without executing code; raises UserError, which names `what` was expected."""
    try:
        with warnings.catch_warnings():
            # A file that it may not read ends in an error of its own, which the user sees.
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # malformed bytes fail anywhere in torch's reader, in any way
        raise not_weights(path, key, what, str(error).partition("\n")[0]) from None
    if not isinstance(state, Mapping) or not all(map(torch.is_tensor, state.values())):
        raise not_weights(path, key, what, "it is no dictionary of tensors")
    return dict(state)


def as_file(state: dict[str, torch.Tensor]) -> io.BytesIO:
    """What torch-fidelity reads in the place of a path: it would unpickle the user's file."""
    content = io.BytesIO()
    torch.save(state, content)
    content.seek(0)
    return content


def not_weights(path: Path, key: str, what: str, reason: str) -> UserError:
    """The sentence about a file that holds something else."""
    return UserError(f"{key}: {path} does not hold {what}: {' '.join(reason.split())[:300]}")


def _download(published: Published, key: str) -> Path:
    assert published.url is not None, f"{published.what} come as a package; their path is given"
    path = Path(torch.hub.get_dir()) / "checkpoints" / published.file_name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"downloading {published.what} ({published.size}) to {path}", file=sys.stderr)
        try:
            torch.hub.download_url_to_file(
                published.url, str(path), published.sha256_prefix, progress=sys.stderr.isatty()
            )
        except (OSError, http.client.HTTPException, RuntimeError) as error:  # RuntimeError: hash
            raise UserError(
                f"{published.what} cannot be downloaded from {published.url} "
                f"({' '.join(str(error).split())}); set {key} to a file"
            ) from None
    return path
