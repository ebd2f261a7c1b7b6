"""Published numbers of the paper and of ports: `paper.yaml`, read and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from models.variants import VARIANTS
from pipeline.config.extractors import INCEPTION
from pipeline.config.schema import Float, Section

PAPER_FILE = Path(__file__).resolve().with_name("paper.yaml")
METRICS = (
    "fid", "is_mean", "kid_mean", "intra_fid", "precision", "recall", "density", "coverage",
)  # fmt: skip
Read = Literal["paper", "repository", "second-hand", "unverified"]
"""Where a number was read; only `paper` and `repository` are its author's own words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """A publication."""

    title: str
    url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedProtocol:
    """How numbers were measured; None where the source does not say."""

    data: str
    """The data set: a kind of `data.source`, or the name of a folder."""
    resolution: int
    """Side of the images, pixels."""
    num_classes: int
    """Of the data set."""
    num_generated: int | None
    """Images for each number."""
    num_real: int | None
    """Images that they were compared with."""
    split: str | None
    """Side of the data that those are of: train, validation or test."""
    is_splits: int | None
    """Of the inception score."""
    weights: Literal["EMA", "raw"]
    """Averaged over training, or not."""
    intra_fid: str | None = None
    """Generated images of a class: as in `evaluate.intra_fid`; None where it is not said."""
    is_resize: str | None = None
    """How images reached Inception for the score, where it was not TensorFlow's way."""
    extractor: str = INCEPTION
    """Whose features, always with the published weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedNumber:
    """One cell."""

    value: float
    read: Read


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedRow:
    """The numbers of one publication for one system."""

    table: str
    """`Table 1`, `Table 2`, `Figure 4`, or `port`."""
    name: str
    variant: str | None
    """The system's name in `model.variant`; None where it is none of ours."""
    updates: int | None
    """Updates of G after which it was measured, where the source gives several."""
    source: Publication
    protocol: PublishedProtocol
    numbers: Mapping[str, PublishedNumber]
    """By metric: fid, is_mean, intra_fid, precision, ..."""


T = TypeVar("T", Publication, PublishedProtocol)


class _Row(Section):
    table: str
    name: str
    variant: str | None = None
    updates: int | None = Field(None, ge=1)
    source: str
    protocol: str
    read: Read | dict[str, Read]
    fid: Float | None = None
    is_mean: Float | None = None
    kid_mean: Float | None = None
    intra_fid: Float | None = None
    precision: Float | None = None
    recall: Float | None = None
    density: Float | None = None
    coverage: Float | None = None


class _Paper(Section):
    sources: dict[str, dict[str, Any]]
    protocols: dict[str, dict[str, Any]]
    rows: list[_Row]


def read_published(path: Path = PAPER_FILE) -> tuple[PublishedRow, ...]:
    """All rows in the file's order; raises ValueError naming what is wrong with the file."""
    try:
        paper = _Paper.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        sources = {key: _checked(Publication, content) for key, content in paper.sources.items()}
        protocols = {
            key: _checked(PublishedProtocol, content) for key, content in paper.protocols.items()
        }
        return tuple(_row(row, sources, protocols) for row in paper.rows)
    except (yaml.YAMLError, ValidationError, KeyError) as error:
        raise ValueError(f"{path}: {error}") from None


def _checked(kind: type[T], content: Mapping[str, Any]) -> T:
    """A dataclass of exactly these fields, their types checked."""
    unknown = content.keys() - kind.__dataclass_fields__.keys()
    if unknown:
        raise KeyError(f"{kind.__name__} has no {sorted(unknown)[0]!r}")
    return TypeAdapter(kind).validate_python(content)


def _row(
    row: _Row, sources: Mapping[str, Publication], protocols: Mapping[str, PublishedProtocol]
) -> PublishedRow:
    values: dict[str, Any] = {name: getattr(row, name) for name in METRICS}
    values = {name: value for name, value in values.items() if value is not None}
    if row.variant is not None and row.variant not in VARIANTS:
        raise KeyError(f"{row.name}: there is no variant {row.variant!r}")
    if isinstance(row.read, dict) and row.read.keys() != values.keys():
        raise KeyError(f"{row.name}: `read` is of {sorted(row.read)}, numbers of {sorted(values)}")
    numbers = {
        name: PublishedNumber(
            value=value, read=row.read[name] if isinstance(row.read, dict) else row.read
        )
        for name, value in values.items()
    }
    return PublishedRow(
        table=row.table,
        name=row.name,
        variant=row.variant,
        updates=row.updates,
        source=sources[row.source],
        protocol=protocols[row.protocol],
        numbers=numbers,
    )
