"""`series.json`: what a series of snapshots has scored, and a CSV of its curve beside it."""

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.storage.atomic import write_json, write_text

FORMAT = "sagan-lab/series/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One snapshot under the selection's protocol."""

    nimg: int
    """Real images that D had seen."""
    file: str
    """Where it was found."""
    sha256: str
    """Of the file."""
    run_key: str
    """Of the run that wrote it."""
    weights: str
    """EMA or raw."""
    metrics: Mapping[str, float]
    """FID by key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reported:
    """The best snapshot under the reporting protocol."""

    sha256: str
    """Of the snapshot's file."""
    key: str
    """Digest of the settings and the real side."""
    metrics: Mapping[str, float]
    """By key."""
    protocol: Mapping[str, Mapping[str, Any]]
    """How each was measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """All that is known of a series."""

    protocol: Mapping[str, Mapping[str, Any]]
    """Of the points' metrics; the first one chose the best."""
    points: Sequence[Point]
    """By nimg."""
    best: Point
    """The lowest by the first metric."""
    reported: Reported
    """The same snapshot on other samples."""

    def as_json(self) -> dict[str, Any]:
        """What `series.json` holds."""
        return {
            "format": FORMAT,
            "selected_by": next(iter(self.protocol)),
            "protocol": dict(self.protocol),
            "points": [asdict(point) for point in self.points],
            "best": asdict(self.best),
            "reported": asdict(self.reported),
        }


class SeriesFile:
    """The file as it grows; what it held before under the same protocol is taken over."""

    def __init__(self, path: Path, protocol: Mapping[str, Mapping[str, Any]]) -> None:
        self._path = path
        self._protocol = protocol
        self._points: dict[str, Point] = {}
        self._reported: Reported | None = None
        self._read()

    def find(self, sha256: str) -> Point | None:
        """The point of a snapshot's file, where it was scored before."""
        return self._points.get(sha256)

    def reported(self, sha256: str, key: str) -> Reported | None:
        """The report of a snapshot's file, where it was made before in the same way."""
        found = self._reported
        return found if found is not None and (found.sha256, found.key) == (sha256, key) else None

    def add(self, point: Point) -> None:
        """Keeps a new point, on disk as well."""
        self._points[point.sha256] = point
        content = {
            "format": FORMAT,
            "protocol": dict(self._protocol),
            "points": [asdict(each) for each in self._points.values()],
            "reported": None if self._reported is None else asdict(self._reported),
        }
        write_json(self._path, content)

    def finish(self, points: Sequence[Point], best: Point, reported: Reported) -> Series:
        """Writes the whole series: these points alone, by nimg."""
        series = Series(protocol=self._protocol, points=points, best=best, reported=reported)
        write_text(self._path.with_suffix(".csv"), _table(series))
        write_json(self._path, series.as_json())
        return series

    def _read(self) -> None:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            self._warn(str(error))
            return
        try:
            # JSON has no order of keys to compare, and no tuples.
            same = json.loads(json.dumps(self._protocol)) == content["protocol"]
            if content["format"] != FORMAT or not same:
                return
            self._points = {each["sha256"]: Point(**each) for each in content["points"]}
            if content["reported"] is not None:
                self._reported = Reported(**content["reported"])
        except (KeyError, TypeError, AttributeError) as error:
            self._points = {}
            self._warn(repr(error))

    def _warn(self, reason: str) -> None:
        print(f"warning: {self._path} is damaged ({reason}); made anew", file=sys.stderr)


def _table(series: Series) -> str:
    keys = list(series.protocol)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["kimg", *keys])
    for point in series.points:
        writer.writerow([point.nimg / 1000, *(point.metrics[key] for key in keys)])
    return text.getvalue()
