"""Which MLflow run mirrors a run folder, and how much of the folder it already holds."""

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from pipeline.storage.atomic import write_json
from pipeline.tracking.connection import without_credentials
from pipeline.tracking.tracker import Outcome

RUN_KEY_TAG = "run_key"
DATASET_DIGEST_TAG = "dataset_digest"
TOTAL_NIMG_TAG = "total_nimg"


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """The dataset that a run was trained on."""

    name: str
    digest: str
    """Hex digest that identifies it everywhere."""
    source: str
    """Where it lies: a folder or an address."""


@dataclass(frozen=True, kw_only=True)
class RunDescription:
    """What an MLflow run is told once, when it is made."""

    run_name: str
    total_nimg: int
    """Length of the run; records beyond it belong to a longer run in the same folder."""
    params: dict[str, str]
    """Flat: `train/g_lr` -> `0.0002`."""
    tags: dict[str, str]
    dataset: DatasetInfo | None


@dataclass(kw_only=True)
class Progress:
    """How much of `stats.jsonl` an MLflow run holds."""

    run_id: str | None = None
    """None until the run was made."""
    offset: int = 0
    """Bytes of the file that are dealt with; always the start of a line."""
    metrics_nimg: int = -1
    """Newest nimg whose metrics were sent; what a resumed run repeats is not sent again."""
    image_nimg: dict[str, int] = field(default_factory=dict)
    """The same for the images of each name."""
    outcome: Outcome | None = None
    """How training ended; None while it runs."""
    ended: bool = False
    """Whether MLflow was told the outcome."""


class RunIdentity:
    """The file `mlflow-<suffix>.json` in a run folder: one a store, experiment and length."""

    def __init__(
        self,
        folder: Path,
        uri: str,
        experiment: str,
        description: RunDescription,
        keep: bool = True,
    ) -> None:
        """With `keep` false nothing is written: the folder belongs to somebody else."""
        self.folder = folder
        self.uri = uri
        self.experiment = experiment
        self.description = description
        self.progress = Progress()
        self._keep = keep
        self._lock = threading.Lock()

    @classmethod
    def load(cls, folder: Path, uri: str, experiment: str, total_nimg: int) -> Self | None:
        """The identity that the folder holds for a store; None for none or a broken one."""
        try:
            path = _path(folder, uri, experiment, total_nimg)
            content = json.loads(path.read_text(encoding="utf-8"))
            dataset = content["description"].pop("dataset")
            description = RunDescription(
                **content["description"],
                dataset=None if dataset is None else DatasetInfo(**dataset),
            )
            identity = cls(folder, uri, experiment, description)
            known = {f.name for f in fields(Progress)}
            identity.progress = Progress(
                **{key: value for key, value in content["progress"].items() if key in known}
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # a new MLflow run is better than none
        return identity

    def start_over(self, run_id: str) -> None:
        """Says that a new MLflow run mirrors the folder, and holds nothing of it yet."""
        # In place: another thread may be setting the outcome.
        self.progress.run_id = run_id
        self.progress.offset = 0
        self.progress.metrics_nimg = -1
        self.progress.image_nimg = {}
        self.save()

    def save(self) -> None:
        """Writes the file; safe from several threads."""
        if not self._keep:
            return
        with self._lock:
            content = {
                "uri": without_credentials(self.uri),
                "experiment": self.experiment,
                "description": asdict(self.description),
                "progress": asdict(self.progress),
            }
            length = self.description.total_nimg
            write_json(_path(self.folder, self.uri, self.experiment, length), content)


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested sections as MLflow wants them: `{"train": {"g_lr": 2e-4}}` -> `train/g_lr: 0.0002`."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}/")
        else:
            flat[f"{prefix}{key}"] = str(list(value) if isinstance(value, tuple) else value)
    return flat


def _path(folder: Path, uri: str, experiment: str, total_nimg: int) -> Path:
    suffix = hashlib.sha256(f"{uri}\n{experiment}\n{total_nimg}".encode()).hexdigest()[:8]
    return folder / f"mlflow-{suffix}.json"
