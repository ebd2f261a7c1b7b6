"""Small studies for tests, without Ray."""

from typing import Any

from pipeline.config.params import Params, override
from pipeline.config.search import StudySection
from pipeline.search.study import Study

RATES = {
    "train.g_lr": {"loguniform": [1e-4, 1e-2]},
    "train.d_lr": {"loguniform": [1e-4, 1e-2]},
}
SMALL = {
    "model.g_width": 2,
    "model.d_width": 2,
    "model.z_dim": 8,
    "train.batch": 16,
    "runtime.tracker": "none",
}


def section(**changes: Any) -> StudySection:
    """TPE of the two rates under ASHA, with changes."""
    content = {
        "space": RATES,
        "searcher": "tpe",
        "scheduler": "asha",
        "num_trials": 12,
        "max_kimg": 9.0,
        "report_kimg": 1.0,
        "metric": "loss/d",
    }
    return StudySection.model_validate({**content, **changes})


def study(**changes: Any) -> Study:
    """A study of small networks on no data in particular."""
    return Study(
        name="small",
        section=section(**changes),
        params=override(Params(), SMALL),
        metric="loss/d",
        shards="shards",
        reference="reference",
        dataset_digest="0" * 64,
    )


def trial_events(
    index: int, config: dict[str, Any], *values: float | None, end: str = "", seed: int = 0
) -> list:
    """A trial with a report each kimg, and its end."""
    key = f"{index:03d}-s{seed}"
    events: list = [{"event": "trial", "id": key, "index": index, "seed": seed, "config": config}]
    for i, value in enumerate(values, start=1):
        events.append({"event": "report", "id": key, "kimg": float(i), "value": value})
    if end:
        events.append({"event": "end", "id": key, "status": end})
    return events
