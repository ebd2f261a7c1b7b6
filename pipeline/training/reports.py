"""What a run says of itself between steps, and what it does when something is wrong."""

import sys
from collections.abc import Callable

from pipeline.core.errors import UserError
from pipeline.distributed.context import DistContext
from pipeline.training.health import CollapseWatch, check_equal_weights, find_breakdown
from pipeline.training.meter import Meter
from pipeline.training.settings import TrainSettings
from pipeline.training.state import TrainState

LR_CUT = 0.5
"""Factor of both learning rates at each rollback."""


class RolledBack(Exception):  # noqa: N818, it is no error
    """A run has broken down and goes on from its newest checkpoint at lower rates."""


class Reports:
    """Reads the meter, looks after the run's health and reports."""

    def __init__(
        self,
        settings: TrainSettings,
        context: DistContext,
        report: Callable[[int, dict[str, float], float], None] | None,
        evaluate: Callable[[TrainState], dict[str, float]] | None,
        stop_when_collapsed: bool,
    ) -> None:
        """`report` takes (nimg, metrics, elapsed_s); the main process has both, no other has any.

        While it evaluates the others wait in the next collective.
        """
        self._settings = settings
        self._context = context
        self._report = report
        self._evaluate = evaluate
        self._stop_when_collapsed = stop_when_collapsed
        self._collapse = CollapseWatch(settings.loss)
        self._warned = False

    def make(self, meter: Meter, state: TrainState, evaluating: bool = False) -> None:
        """One status, with metrics of the generator where `evaluating`. A collective.

        Raises RolledBack or UserError when a number is not finite, and UserError when weights
        differ between processes or a collapse is to end the run.
        """
        settings = self._settings
        metrics = meter.read(settings.batch)
        if (breakdown := find_breakdown(state, metrics, self._context)) is not None:
            if settings.on_nonfinite == "rollback" and state.num_rollbacks < settings.max_rollbacks:
                self._say(f"{breakdown}; going back to the newest checkpoint at half the rates")
                raise RolledBack
            spent = f" after {state.num_rollbacks} rollbacks" if state.num_rollbacks else ""
            raise UserError(
                f"training broke down{spent}: {breakdown}; the newest checkpoint is from before; "
                "lower train.g_lr and train.d_lr, set train.precision to fp32, or "
                "train.on_nonfinite to rollback"
            )
        check_equal_weights(state, self._context)
        metrics = {**self._context.means(metrics), **_gammas(state)}
        if state.num_rollbacks:
            metrics["rollback/count"] = state.num_rollbacks
            metrics["rollback/lr_factor"] = state.lr_factor
        sign = self._collapse.look(metrics)
        metrics["collapse/detected"] = float(sign is not None)
        if evaluating and self._evaluate is not None:
            metrics |= self._evaluate(state)
            meter.restart_clock()
        if self._report is not None:
            self._report(state.nimg, metrics, state.elapsed_s)
        if sign is not None:
            self._collapsed(sign, state.nimg)

    def _collapsed(self, sign: str, nimg: int) -> None:
        if self._stop_when_collapsed:
            raise UserError(
                f"training has collapsed at nimg {nimg}: {sign}; change the learning rates or the "
                "system, or set runtime.on_collapse to log"
            )
        if not self._warned:
            self._say(f"warning: training seems to have collapsed at nimg {nimg}: {sign}")
        self._warned = True

    def _say(self, sentence: str) -> None:
        if self._context.is_main:
            print(sentence, file=sys.stderr)


def _gammas(state: TrainState) -> dict[str, float]:
    gammas = {}
    for name, network in (("g", state.G), ("d", state.D)):
        for parameter_name, parameter in network.attention.named_parameters():
            size, _, kind = parameter_name.partition(".")
            if kind == "gamma":
                block = network.config.attention_block
                gammas[f"{block}/{name}_gamma_{size}"] = parameter.item()
    return gammas
