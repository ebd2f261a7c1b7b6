"""Status reports of a run: means of the step metrics, checks of its health, one report."""

import sys
import time
from collections.abc import Callable

import torch

from pipeline.core.errors import UserError
from pipeline.distributed.context import DistContext
from pipeline.training.health import CollapseDetector, check_equal_weights, find_nonfinite
from pipeline.training.settings import TrainSettings
from pipeline.training.state import TrainState


class RunningMeans:
    """Means of step metrics between two reports, kept on the device until they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}
        self._last_read = time.perf_counter()

    def add(self, metrics: dict[str, torch.Tensor]) -> None:
        """Adds the scalars () of one step; a name comes at most once in each step."""
        for name, value in metrics.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def restart_clock(self) -> None:
        """Excludes the time since the last reading from the throughput."""
        self._last_read = time.perf_counter()

    def read(self, batch: int) -> dict[str, float]:
        """Mean of every metric since the last reading, and images/s; synchronises the device."""
        means = {name: total.item() / self._counts[name] for name, total in self._sums.items()}
        num_steps = max(self._counts.values(), default=0)
        now = time.perf_counter()
        means["throughput/images_per_s"] = num_steps * batch / (now - self._last_read)
        self._last_read = now
        self._sums.clear()
        self._counts.clear()
        return means


class StatusReporter:
    """Reads the running means, checks the run's health and reports."""

    def __init__(
        self,
        settings: TrainSettings,
        context: DistContext,
        report: Callable[[int, dict[str, float], float], None] | None,
        evaluate: Callable[[TrainState], dict[str, float]] | None,
        stop_when_collapsed: bool,
    ) -> None:
        """`report` takes (nimg, metrics, elapsed_s); both are of the main process, None elsewhere.

        During an evaluation the other processes wait in the next collective.
        """
        self._settings = settings
        self._context = context
        self._report = report
        self._evaluate = evaluate
        self._stop_when_collapsed = stop_when_collapsed
        self._collapse = CollapseDetector(settings.loss)
        self._warned = False

    def report(self, means: RunningMeans, state: TrainState, evaluating: bool = False) -> None:
        """One report, with metrics of the generator if `evaluating`. A collective.

        Raises UserError when a number is not finite, when weights differ between processes, or
        when training has collapsed and a collapse ends the run.
        """
        metrics = means.read(self._settings.batch)
        if (place := find_nonfinite(state, metrics, self._context)) is not None:
            raise UserError(
                f"training broke down: {place}; the newest checkpoint is from before; "
                "lower train.g_lr and train.d_lr, or set train.precision to fp32"
            )
        check_equal_weights(state, self._context)
        metrics = {**self._context.means(metrics), **_gammas(state)}
        collapse = self._collapse.check(metrics)
        metrics["collapse/detected"] = float(collapse is not None)
        if evaluating and self._evaluate is not None:
            metrics |= self._evaluate(state)
            means.restart_clock()
        if self._report is not None:
            self._report(state.nimg, metrics, state.elapsed_s)
        if collapse is not None:
            self._on_collapse(collapse, state.nimg)

    def _on_collapse(self, reason: str, nimg: int) -> None:
        if self._stop_when_collapsed:
            raise UserError(
                f"training has collapsed at nimg {nimg}: {reason}; change the learning rates or "
                "the system, or set runtime.on_collapse to log"
            )
        if not self._warned and self._context.is_main:
            print(
                f"warning: training seems to have collapsed at nimg {nimg}: {reason}",
                file=sys.stderr,
            )
        self._warned = True


def _gammas(state: TrainState) -> dict[str, float]:
    gammas = {}
    for name, network in (("g", state.G), ("d", state.D)):
        for parameter_name, parameter in network.attention.named_parameters():
            size, _, kind = parameter_name.partition(".")
            if kind == "gamma":
                block = network.config.attention_block
                gammas[f"{block}/{name}_gamma_{size}"] = parameter.item()
    return gammas
