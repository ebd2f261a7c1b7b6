"""`stats.jsonl`, the append-only record of a run: writing and reading."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.storage.json_lines import append_line, complete_lines, cut_torn_line
from pipeline.tracking.tracker import Outcome, Tracker

STATS_NAME = "stats.jsonl"


@dataclass(frozen=True, kw_only=True)
class MetricsRecord:
    """The metrics of one status report."""

    nimg: int
    """Real images seen by D since the start."""
    elapsed_s: float
    """Seconds of training."""
    time: float
    """When it was written, seconds since the epoch."""
    metrics: dict[str, float]
    """Values by name; those that were not finite are nan."""

    def to_line(self) -> str:
        """The record as a line of `stats.jsonl`."""
        return _line(
            "metrics",
            self.nimg,
            self.time,
            elapsed_s=round(self.elapsed_s, 3),
            metrics={
                # JSON has no nan.
                name: value if math.isfinite(value) else None
                for name, value in self.metrics.items()
            },
        )


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """One image of the run."""

    nimg: int
    name: str
    time: float
    """When it was written, seconds since the epoch."""
    path: str
    """Relative to the folder of `stats.jsonl` if the file is in it."""

    def to_line(self) -> str:
        """The record as a line of `stats.jsonl`."""
        return _line("image", self.nimg, self.time, name=self.name, path=self.path)


class JsonlTracker(Tracker):
    """Appends each status to `run_dir/stats.jsonl`.

    A run that resumes from a checkpoint repeats records of the same nimg; readers keep the last. A
    torn last line, which a killed process may have left, is cut off first.
    """

    def __init__(self, run_dir: Path) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self.run_dir = run_dir
        self.path = run_dir / STATS_NAME
        cut_torn_line(self.path)
        self._file = self.path.open("ab", buffering=0)

    def log(self, metrics: Mapping[str, float], nimg: int, elapsed_s: float) -> None:
        values = {name: float(value) for name, value in metrics.items()}
        self._append(
            MetricsRecord(nimg=nimg, elapsed_s=elapsed_s, time=time.time(), metrics=values)
        )

    def image(self, name: str, path: Path, nimg: int) -> None:
        if path.is_relative_to(self.run_dir):
            path = path.relative_to(self.run_dir)
        self._append(ImageRecord(nimg=nimg, name=name, time=time.time(), path=path.as_posix()))

    def close(self, outcome: Outcome) -> None:
        self._file.close()

    def _append(self, record: MetricsRecord | ImageRecord) -> None:
        append_line(self._file, record.to_line())


def parse_record(line: bytes | str) -> MetricsRecord | ImageRecord | None:
    """One line of `stats.jsonl`; None for a type of a later version; ValueError if malformed."""
    try:
        record = json.loads(line)
        kind, nimg = record["type"], int(record["nimg"])
        if kind == "metrics":
            return MetricsRecord(
                nimg=nimg,
                elapsed_s=float(record["elapsed_s"]),
                time=float(record["time"]),
                metrics={
                    str(name): math.nan if value is None else float(value)
                    for name, value in record["metrics"].items()
                },
            )
        if kind == "image":
            return ImageRecord(
                nimg=nimg,
                name=str(record["name"]),
                time=float(record["time"]),
                path=str(record["path"]),
            )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a record: {error!r}") from None
    return None


def read_stats(
    path: Path, up_to_nimg: int | None = None
) -> tuple[list[MetricsRecord], list[ImageRecord]]:
    """The records up to and including a nimg, sorted by it, the last one of each nimg and name.

    A torn last line is skipped. Raises UserError for a missing or malformed file.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; `dvc repro train` makes it") from None
    metrics: dict[int, MetricsRecord] = {}
    images: dict[tuple[int, str], ImageRecord] = {}
    for number, line in enumerate(complete_lines(content), start=1):
        try:
            record = parse_record(line)
        except ValueError as error:
            raise UserError(
                f"{path}, line {number}: {error}; `dvc repro --force train` writes it anew"
            ) from None
        if record is None or (up_to_nimg is not None and record.nimg > up_to_nimg):
            continue
        if isinstance(record, MetricsRecord):
            metrics[record.nimg] = record
        else:
            images[record.nimg, record.name] = record
    return (
        [metrics[nimg] for nimg in sorted(metrics)],
        [images[key] for key in sorted(images)],
    )


def _line(kind: str, nimg: int, time_s: float, **content: object) -> str:
    record = {"type": kind, "nimg": int(nimg), "time": round(time_s, 3), **content}
    return json.dumps(record, allow_nan=False) + "\n"
