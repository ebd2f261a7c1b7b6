"""The training loop: report, snapshot, checkpoint, done?, step.

It is independent of DVC, MLflow and Ray: `Outputs` writes what a run leaves. Every process of a
job runs the loop in step with the others; the main process alone writes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from models.ema import update_ema
from pipeline.core.images import from_uint8
from pipeline.data.loading.batches import Batches
from pipeline.data.loading.order import make_order
from pipeline.data.shards.reader import Rows
from pipeline.distributed.context import DistContext
from pipeline.distributed.stopping import StopSync
from pipeline.training.draws import draw_for_d, draw_for_g
from pipeline.training.schedule import learning_rates_at
from pipeline.training.settings import RuntimeSettings, TrainSettings, is_due, is_eval_due
from pipeline.training.state import TrainState
from pipeline.training.status import RunningMeans, StatusReporter
from pipeline.training.steps import d_step, g_step


class Outputs(Protocol):
    """What the main process writes of a run and reads back; `pipeline.runs` has a run folder."""

    def load_checkpoint(self, up_to_nimg: int) -> dict[str, Any] | None:
        """The newest saved state that is not beyond `up_to_nimg`, or None."""

    def save_checkpoint(self, state: TrainState) -> None:
        """Saves the state; it may be written after the return, but is copied before."""

    def write_snapshots(self, state: TrainState) -> None:
        """Writes the generator, averaged and raw, for sampling."""

    def evaluate(self, state: TrainState) -> dict[str, float]:
        """Metrics of the averaged generator; empty where there is no evaluation."""

    def report(self, nimg: int, metrics: dict[str, float], elapsed_s: float) -> None:
        """Records the metrics of a status report."""


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
    outputs: Outputs | None = None,
    context: DistContext = DistContext(),  # noqa: B008
) -> Summary:
    """Trains from the newest checkpoint, or from the start, to `settings.total_nimg` images.

    `should_stop` is called before each step and returns a reason to stop early, or None. The main
    process has `outputs`, the others have None. Raises UserError when a loss, a gradient or a
    weight is not finite; the newest checkpoint is then from before that.
    """
    batch = settings.batch
    state = TrainState(settings, runtime.device, context)
    saved = None if outputs is None else outputs.load_checkpoint(settings.total_nimg)
    if (saved := context.from_main(saved)) is not None:
        state.load_state_dict(saved)
    start_nimg, earlier_s, started = state.nimg, state.elapsed_s, time.perf_counter()
    stop_sync = StopSync(should_stop, context)
    status = StatusReporter(
        settings,
        context,
        None if outputs is None else outputs.report,
        None if outputs is None else outputs.evaluate,
        stop_when_collapsed=runtime.on_collapse == "stop",
    )
    means = RunningMeans()
    order = make_order(settings.order, settings.seed, rows.shard_rows, settings.order_window)
    with Batches(
        rows,
        order,
        batch,
        start_nimg,
        rank=context.rank,
        world_size=context.world_size,
        pin_memory=runtime.device.startswith("cuda"),
    ) as batches:
        while True:
            stopped_by = stop_sync.ask()
            done = state.nimg >= settings.total_nimg
            ending = done or stopped_by is not None
            advanced = state.nimg > start_nimg
            checkpoint_due = advanced and (
                ending or is_due(state.nimg, batch, runtime.checkpoint_kimg)
            )
            eval_due = advanced and is_eval_due(state.nimg, settings, runtime)
            status_due = advanced and is_due(state.nimg, batch, runtime.status_kimg)
            # A report comes before each checkpoint: it finds numbers that are not finite.
            if checkpoint_due or eval_due or status_due:
                state.elapsed_s = earlier_s + time.perf_counter() - started
                status.report(means, state, eval_due)
            snapshot_due = done or (advanced and is_due(state.nimg, batch, settings.snapshot_kimg))
            if outputs is not None and snapshot_due:
                outputs.write_snapshots(state)
            if outputs is not None and checkpoint_due:
                outputs.save_checkpoint(state)
            if ending:
                break
            _step(settings, runtime, state, batches, means, context)
    stop_sync.close()
    return Summary(
        nimg=state.nimg,
        start_nimg=start_nimg,
        elapsed_s=state.elapsed_s,
        stopped_by=None if done else stopped_by,
    )


def _step(
    settings: TrainSettings,
    runtime: RuntimeSettings,
    state: TrainState,
    batches: Batches,
    means: RunningMeans,
    context: DistContext,
) -> None:
    """One update of D and, where it is due, one of G."""
    nimg, device, part = state.nimg, runtime.device, runtime.batch_per_process
    share = context.share(settings.batch)
    images, labels = batches.next_batch()
    real = from_uint8(images.to(device, non_blocking=True))
    labels = labels.to(device, non_blocking=True)
    g_lr, d_lr = learning_rates_at(settings, nimg)
    draws = draw_for_d(settings, nimg, device, share)
    means.add(d_step(settings, state, real, labels, draws, d_lr, part))
    if settings.updates_g_at(nimg):
        means.add(g_step(settings, state, draw_for_g(settings, nimg, device, share), g_lr, part))
        num_images = settings.batch * settings.d_steps
        update_ema(state.G_ema, state.G, num_images, settings.ema_halflife_nimg_at(nimg))
    state.nimg += settings.batch
