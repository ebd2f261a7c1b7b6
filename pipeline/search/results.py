"""`results.json`: all that a study found, for the page, MLflow, `--apply` and DVC."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

from pipeline.errors import UserError
from pipeline.search.configurations import best_configuration
from pipeline.search.trial_result import TrialResult, TrialStatus
from pipeline.storage.atomic import write_json

RESULTS_NAME = "results.json"
_FORMAT = 1
_MODES = ("min", "max")

Mode = Literal["min", "max"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """The images that a study's trials were trained on and measured against."""

    name: str
    kind: str
    """Of `data.source`: digits, cifar10, ..."""
    digest: str
    resolution: int
    """Side, pixels."""
    num_classes: int


@dataclass(frozen=True, kw_only=True)
class StudyResults:
    """What a study was, and how far its trials came."""

    study: str
    metric: str
    """Of the status records: fid2k_dataset_cnn, ..."""
    mode: Mode
    """Which way the metric is better."""
    finished: bool
    """Whether no trial is left to run."""
    max_kimg: float
    """Length of a trial, thousands of real images."""
    seeds: tuple[int, ...]
    """Each configuration was to be trained with each of these."""
    space: Mapping[str, Mapping[str, Any]]
    """What varied: `train.g_lr` -> `{loguniform: [1e-5, 1e-3]}`."""
    trials: tuple[TrialResult, ...]
    """In the order of their ids' making."""
    searcher: str = "grid"
    scheduler: str = "none"
    rungs_kimg: tuple[float, ...] = ()
    """Where trials were compared and stopped."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Other keys of params.yaml that the study sets for all of its trials."""
    budget_params: Mapping[str, Any] = field(default_factory=dict)
    """The same from the command line and `--smoke`: no part of what the study recommends."""
    base_params: Mapping[str, Any] = field(default_factory=dict)
    """Sections `data`, `model` and `train` of params.yaml as they stood when the study began."""
    protocol: Mapping[str, Any] = field(default_factory=dict)
    """How the metric was measured, as an entry of protocol.json says it; empty if not known."""
    data: StudyData | None = None


def write_results(folder: Path, results: StudyResults) -> None:
    """Writes `results.json` atomically; values that are not finite become null."""
    content = asdict(results)
    best = best_configuration(results.trials, results.seeds, results.mode)
    head = {name: content.pop(name) for name in ("study", "metric", "mode")}
    head["best"] = best and {
        "config": dict(best.config),
        "value": best.mean,
        "ci95": None if best.ci95 is None else list(best.ci95),
        "seeds": [trial.seed for trial in best.finished],
    }
    head["trials"] = content.pop("trials")
    write_json(folder / RESULTS_NAME, _finite({"format": _FORMAT, **head, **content}))


def study_results(folder: Path) -> StudyResults:
    """What a study's folder holds; raises UserError where that is missing or damaged."""
    path = folder / RESULTS_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _parsed(content)
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist; `python tune.py --study {folder.name}` makes it"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged ({error!r}); `python tune.py --study {folder.name}` writes it anew"
        ) from None


def _parsed(content: Mapping[str, Any]) -> StudyResults:
    if content["format"] != _FORMAT:
        raise ValueError(f"format {content['format']!r}, not {_FORMAT}")
    if content["mode"] not in _MODES:
        raise ValueError(f"mode {content['mode']!r}")
    data = content["data"]
    return StudyResults(
        study=_text(content["study"]),
        metric=_text(content["metric"]),
        mode=cast(Mode, content["mode"]),
        finished=bool(content["finished"]),
        max_kimg=float(content["max_kimg"]),
        seeds=tuple(int(seed) for seed in content["seeds"]),
        space={_text(key): dict(values) for key, values in content["space"].items()},
        trials=tuple(_trial(trial) for trial in content["trials"]),
        searcher=_text(content["searcher"]),
        scheduler=_text(content["scheduler"]),
        rungs_kimg=tuple(float(rung) for rung in content["rungs_kimg"]),
        params=dict(content["params"]),
        budget_params=dict(content["budget_params"]),
        base_params=dict(content["base_params"]),
        protocol=dict(content["protocol"]),
        data=None if data is None else StudyData(**data),
    )


def _trial(content: Mapping[str, Any]) -> TrialResult:
    if content["status"] not in get_args(TrialStatus):
        raise ValueError(f"status {content['status']!r}")
    return TrialResult(
        id=_text(content["id"]),
        config=dict(content["config"]),
        seed=int(content["seed"]),
        status=cast(TrialStatus, content["status"]),
        kimg=float(content["kimg"]),
        value=_optional(float, content["value"]),
        mlflow_run_id=_optional(_text, content["mlflow_run_id"]),
        history=tuple(
            (float(seen), math.nan if value is None else float(value))
            for seen, value in content["history"]
        ),
        seconds=_optional(float, content["seconds"]),
        run_key=_optional(_text, content["run_key"]),
        error=_optional(_text, content["error"]),
    )


def _optional(read: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else read(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _finite(content: Any) -> Any:
    """JSON has no nan and no infinity."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
