"""`reports/studies/metrics.json`: the outcome of every study, for `dvc exp show`."""

import json
from pathlib import Path
from typing import Any

from pipeline.search.results import RESULTS_NAME
from pipeline.storage.atomic import write_json

OUTCOMES_NAME = "metrics.json"


def write_outcomes(root: Path) -> None:
    """Of all studies in `root`, by name: the best value under its metric's name, and counts."""
    outcomes = {}
    for path in sorted(root.glob(f"*/{RESULTS_NAME}")):
        try:
            results = json.loads(path.read_text(encoding="utf-8"))
            outcomes[path.parent.name] = _outcome(results)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # of a study that is being forgotten, or damaged: its next call writes it
    write_json(root / OUTCOMES_NAME, outcomes)


def _outcome(results: dict[str, Any]) -> dict[str, float]:
    best, metric, trials = results["best"], results["metric"], results["trials"]
    outcome: dict[str, float] = {}
    if best is not None:
        outcome[metric] = best["value"]
        if best["ci95"] is not None:
            low, high = best["ci95"]
            outcome |= {f"{metric}_ci95_low": low, f"{metric}_ci95_high": high}
    outcome["trials"] = len(trials)
    outcome["finished"] = sum(trial["status"] == "complete" for trial in trials)
    return outcome
