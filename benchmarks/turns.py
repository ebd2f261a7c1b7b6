"""Lets a run and pure steps take turns, so that both meet the same machine."""

import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.preset import PureSteps
from pipeline.distributed.stopping import Interruption
from pipeline.tracking.jsonl import STATS_NAME, read_stats

_WARM_UP = 20  # steps


class EnoughError(Exception):
    """All rounds are measured."""


@dataclass
class Round:
    """Seconds of as many steps of each."""

    run_s: float = 0.0
    pure_s: float = 0.0
    background_s: float = 0.0
    """Processor time of the run's other threads; of torch's too, where it has several."""


class Turns:
    """What a run asks before each step; it answers after the pure steps that are due.

    They pass only while no thread of the run has anything left to do, so that all that those take
    falls to the run.
    """

    def __init__(
        self,
        pure: PureSteps,
        run_dir: Path,
        interruption: Interruption,
        per_round: int,
        rounds: int,
    ) -> None:
        """`rounds` of `per_round` steps; the run writes to `run_dir`, with MLflow."""
        self.rounds: list[Round] = []
        self.is_counting = False
        """Whether the warm-up is over."""
        self._pure = pure
        self._run_dir = run_dir
        self._interruption = interruption
        self._per_round = per_round
        self._num_rounds = rounds
        self._current = Round()
        self._num_run = 0
        self._num_pure = 0
        self._left_at = _now()

    def __call__(self) -> str | None:
        """A reason to stop; raises EnoughError after the last round."""
        reason = self._interruption.reason()
        wall_s, background_s = (now - left for now, left in zip(_now(), self._left_at, strict=True))
        if self.is_counting:
            self._num_run += 1
            self._current.run_s += wall_s
            self._current.background_s += background_s
            self._take_turn()
        else:
            self._warm_up()
        self._left_at = _now()
        return reason

    def _warm_up(self) -> None:
        self._num_run += 1
        if self._num_run >= _WARM_UP:
            for _ in range(_WARM_UP):
                self._pure()
            self._await_quiet()
            self.is_counting, self._num_run = True, 0

    def _take_turn(self) -> None:
        round_is_over = self._num_run == self._per_round
        if round_is_over:
            self._await_quiet()
        if not self._is_quiet():
            return
        started = time.perf_counter()
        for _ in range(self._num_run - self._num_pure):
            self._pure()
        self._num_pure = self._num_run
        self._current.pure_s += time.perf_counter() - started
        if round_is_over:
            self.rounds.append(self._current)
            self._current, self._num_run, self._num_pure = Round(), 0, 0
            if len(self.rounds) == self._num_rounds:
                raise EnoughError

    def _await_quiet(self) -> None:
        while not self._is_quiet():
            time.sleep(0.01)

    def _is_quiet(self) -> bool:
        if any(thread.name == "checkpoint-writer" for thread in threading.enumerate()):
            return False
        (progress,) = self._run_dir.glob("mlflow-*.json")
        sent = json.loads(progress.read_text(encoding="utf-8"))["progress"]["sent_nimg"]
        records, images = read_stats(self._run_dir / STATS_NAME)
        newest = {"metrics": records[-1].nimg} if records else {}
        return sent == newest | {f"image/{image.name}": image.nimg for image in images}


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time() - time.thread_time()
