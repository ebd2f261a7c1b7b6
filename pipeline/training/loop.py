"""The training loop: report, snapshot, checkpoint, done?, step.

It knows neither DVC nor MLflow nor Ray: what it reports goes to a tracker and a callback. Every
process of a job runs it in step with the others; the main one alone writes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from models.ema import update_ema
from models.generator import Generator
from pipeline.core.images import from_uint8
from pipeline.data.loading.batches import Batches
from pipeline.data.loading.block_order import make_order
from pipeline.data.shards.reader import Rows
from pipeline.distributed.context import DistContext
from pipeline.distributed.stop_sync import StopSync
from pipeline.runs.checkpoint import Checkpoints
from pipeline.runs.run_output import RunOutput
from pipeline.tracking.tracker import Tracker
from pipeline.training.draws import draw_for_d, draw_for_g
from pipeline.training.meter import Meter
from pipeline.training.reports import LR_CUT, Reports, RolledBack
from pipeline.training.schedule import learning_rates_at
from pipeline.training.settings import RuntimeSettings, TrainSettings, is_due, is_eval_due
from pipeline.training.state import TrainState
from pipeline.training.steps import d_step, g_step

OnStatus = Callable[[int, dict[str, float], float], None]
"""Hears (nimg, metrics, elapsed_s) of every status."""
Evaluate = Callable[[Generator, int], dict[str, float]]
"""Gives metrics of a generator that is ready to be sampled, at nimg."""


@dataclass(frozen=True)
class Writers:
    """Where a run leaves what it makes."""

    output: RunOutput
    checkpoints: Checkpoints
    tracker: Tracker
    on_status: OnStatus = lambda nimg, metrics, elapsed_s: None
    evaluate: Evaluate | None = None

    def evaluation(self, state: TrainState) -> dict[str, float]:
        """Metrics of the averaged generator; none where nobody evaluates."""
        if self.evaluate is None:
            return {}
        return self.evaluate(self.output.sampled(state.G_ema, state.nimg), state.nimg)

    def report(self, nimg: int, metrics: dict[str, float], elapsed_s: float) -> None:
        """Tells the tracker and the listener."""
        self.tracker.log(metrics, nimg, elapsed_s)
        self.on_status(nimg, metrics, elapsed_s)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How a call of `train` ended."""

    nimg: int
    """Real images seen by D since the start of the run."""
    start_nimg: int
    """Where this call took the run up."""
    elapsed_s: float
    """Training time of the whole run, over all its calls."""
    stopped_by: str | None
    """Why it ended early; None when the run is complete."""


def train(
    settings: TrainSettings,
    rows: Rows,
    runtime: RuntimeSettings,
    should_stop: Callable[[], str | None] = lambda: None,
    writers: Writers | None = None,
    context: DistContext = DistContext(),  # noqa: B008
) -> Summary:
    """Trains from the newest checkpoint, or from the start, to `settings.total_nimg` images.

    `should_stop` is asked before each step for a reason to stop early. The main process has
    `writers`, no other has. Raises UserError when a loss, a gradient or a weight is no longer
    finite and may not be rolled back; the newest checkpoint is then from before that.
    """
    batch, total_nimg = settings.batch, settings.total_nimg
    state = TrainState(settings, runtime.device, context)
    _resume(state, writers, total_nimg, context)
    start_nimg, resumed_elapsed_s = state.nimg, state.elapsed_s
    started = time.perf_counter()
    votes = StopSync(should_stop, context)
    reports = Reports(
        settings,
        context,
        None if writers is None else writers.report,
        None if writers is None else writers.evaluation,
        stop_when_collapsed=runtime.on_collapse == "stop",
    )

    while True:  # once, and again after each rollback
        taken_up_at = state.nimg
        meter = Meter()
        try:
            with Batches(
                rows,
                make_order(settings.order, settings.seed, rows.shard_rows, settings.order_window),
                batch,
                start=state.nimg,
                rank=context.rank,
                world_size=context.world_size,
            ) as batches:
                while True:
                    stopped_by = votes.ask()
                    done = state.nimg >= total_nimg
                    ending = done or stopped_by is not None
                    advanced = state.nimg > taken_up_at
                    checkpoint_due = advanced and (
                        ending or is_due(state.nimg, batch, runtime.checkpoint_kimg)
                    )
                    eval_due = advanced and is_eval_due(state.nimg, settings, runtime)
                    # No checkpoint without a report before it: it is what sees a broken run.
                    if (
                        checkpoint_due
                        or eval_due
                        or (advanced and is_due(state.nimg, batch, runtime.status_kimg))
                    ):
                        state.elapsed_s = resumed_elapsed_s + time.perf_counter() - started
                        reports.make(meter, state, eval_due)
                    if writers is not None and (
                        done or (advanced and is_due(state.nimg, batch, settings.snapshot_kimg))
                    ):
                        writers.output.write(state.G, state.G_ema, state.nimg)
                    if writers is not None and checkpoint_due:
                        writers.checkpoints.save(state.state_dict())
                    if ending:
                        break
                    _step(settings, runtime, state, batches, meter, context)
            break
        except RolledBack:
            state = _rolled_back(state, settings, runtime, writers, context)

    votes.close()
    return Summary(
        nimg=state.nimg,
        start_nimg=start_nimg,
        elapsed_s=state.elapsed_s,
        stopped_by=None if done else stopped_by,
    )


def _rolled_back(
    broken: TrainState,
    settings: TrainSettings,
    runtime: RuntimeSettings,
    writers: Writers | None,
    context: DistContext,
) -> TrainState:
    """The newest checkpoint's state, or the start's, at lower rates than the broken one had."""
    if writers is not None:
        writers.checkpoints.flush()
    state = TrainState(settings, runtime.device, context)
    _resume(state, writers, broken.nimg, context)
    state.lr_factor = broken.lr_factor * LR_CUT
    state.num_rollbacks = broken.num_rollbacks + 1
    return state


def _resume(
    state: TrainState, writers: Writers | None, up_to_nimg: int, context: DistContext
) -> None:
    saved = None if writers is None else writers.checkpoints.load_newest(up_to_nimg)
    saved = context.from_main(saved)
    if saved is not None:
        state.load_state_dict(saved)


def _step(
    settings: TrainSettings,
    runtime: RuntimeSettings,
    state: TrainState,
    batches: Batches,
    meter: Meter,
    context: DistContext,
) -> None:
    """One update of D and, where it is due, one of G."""
    nimg, device, part = state.nimg, runtime.device, runtime.batch_per_process
    share = context.share(settings.batch)
    images, labels = batches.next_batch()
    real = from_uint8(images.to(device, non_blocking=True))
    labels = labels.to(device, non_blocking=True)
    g_lr, d_lr = (rate * state.lr_factor for rate in learning_rates_at(settings, nimg))
    draws = draw_for_d(settings, nimg, device, share)
    meter.add(d_step(settings, state, real, labels, draws, d_lr, part))
    if settings.updates_g_at(nimg):
        meter.add(g_step(settings, state, draw_for_g(settings, nimg, device, share), g_lr, part))
        num_images = settings.batch * settings.d_steps
        update_ema(state.G_ema, state.G, num_images, settings.ema_halflife_nimg_at(nimg))
    state.nimg += settings.batch
