"""What becomes of trials whose processes fail: a line for a person, and an end where it is one."""

import sys
from pathlib import Path
from typing import Any

from ray import tune

from pipeline.search.recorder import Recorder

_MAX_CAUSE = 300  # characters; Ray guesses at great length


class Failures(tune.Callback):
    """Ray's hooks, called in the driver."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Ray's hook: the trial starts again."""
        left = self._recorder.study.params.runtime.max_failures - trial.num_failures
        print(
            f"{_id(trial)} failed: {_cause(trial)}; it starts again from its last checkpoint "
            f"({max(left, 0)} more times at most)",
            file=sys.stderr,
            flush=True,
        )

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Ray's hook: it failed once too often."""
        self._recorder.end(
            _id(trial),
            "failed",
            f"{_cause(trial)}, more often than runtime.max_failures; run the same command to try "
            "again",
            died=True,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray saves what it is given


def _id(trial: Any) -> str:
    return str(trial.config["trial"]["id"])


def _cause(trial: Any) -> str:
    path = trial.error_file
    if path is None or not Path(path).exists():
        return "its process died"
    lines = Path(path).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    told = next((line for line in reversed(lines) if line and not line[0].isspace()), "it died")
    return told[:_MAX_CAUSE]
