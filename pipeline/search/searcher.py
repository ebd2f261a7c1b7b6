"""What Ray asks for the next trial: unfinished ones first, then the study's proposals."""

from collections import deque
from typing import Any

from ray.tune.search import Searcher

from pipeline.search.history import Trial
from pipeline.search.proposals import propose
from pipeline.search.recorder import Recorder


class StudySearcher(Searcher):
    """Hands out trials; what it proposes follows from the history alone."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(metric="value", mode=recorder.study.section.mode)
        self._recorder = recorder
        trials = recorder.history.trials.values()
        self._waiting = deque(trial for trial in trials if not trial.is_over)

    def suggest(self, trial_id: str) -> Any:
        """Ray's hook; what a trial is told, or that there is none left."""
        if self._recorder.interrupted is not None:
            return Searcher.FINISHED
        if not self._waiting:
            history = self._recorder.history
            config = propose(self._recorder.study, history)
            if config is None:
                return Searcher.FINISHED
            self._waiting += self._recorder.add_trials(history.num_configs, config)
        return {"trial": told(self._waiting.popleft())}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Ray's hook; the schedulers record ends."""

    def save(self, checkpoint_path: str) -> None:
        """Ray's hook; the journal has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Ray's hook; the journal has it all."""


def told(trial: Trial) -> dict[str, Any]:
    """What the process of a trial is told of it."""
    return {
        "id": trial.id,
        "index": trial.index,
        "seed": trial.seed,
        "config": trial.config,
    }
