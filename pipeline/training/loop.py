"""The training loop: report, snapshot, checkpoint, done?, step.

It knows neither DVC nor MLflow nor Ray: what it reports goes to a tracker and a callback.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from models.ema import update_ema
from pipeline.data.batches import Batches
from pipeline.data.reader import Rows
from pipeline.errors import UserError
from pipeline.images import from_uint8
from pipeline.tracking.tracker import Tracker
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.draws import draw_for_d, draw_for_g
from pipeline.training.meter import Meter
from pipeline.training.run_output import RunOutput
from pipeline.training.schedule import learning_rates_at, set_learning_rate
from pipeline.training.settings import RuntimeSettings, TrainSettings, is_due
from pipeline.training.state import TrainState
from pipeline.training.steps import d_step, g_step

OnStatus = Callable[[int, dict[str, float], float], None]


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
    output: RunOutput,
    checkpoints: Checkpoints,
    tracker: Tracker,
    runtime: RuntimeSettings,
    should_stop: Callable[[], str | None] = lambda: None,
    on_status: OnStatus = lambda nimg, metrics, elapsed_s: None,
) -> Summary:
    """Trains from the newest checkpoint, or from the start, to `settings.total_nimg` images.

    `should_stop` is asked before each step for a reason to stop early. `on_status(nimg, metrics,
    elapsed_s)` hears every status. Raises UserError when a loss or a weight is no longer finite;
    the newest checkpoint is then from before that.
    """
    batch, total_nimg = settings.batch, settings.total_nimg
    state = TrainState(settings, runtime.device)
    if (saved := checkpoints.load_newest(total_nimg)) is not None:
        state.load_state_dict(saved)
    start_nimg, resumed_elapsed_s = state.nimg, state.elapsed_s
    started = time.perf_counter()
    meter = Meter()

    with Batches(rows, settings.seed, batch, start=start_nimg) as batches:
        while True:
            stopped_by = should_stop()
            done = state.nimg >= total_nimg
            ending = done or stopped_by is not None
            advanced = state.nimg > start_nimg
            checkpoint_due = advanced and (
                ending or is_due(state.nimg, batch, runtime.checkpoint_kimg)
            )
            # No checkpoint without a report before it: the report is what sees a broken run.
            if checkpoint_due or (advanced and is_due(state.nimg, batch, runtime.status_kimg)):
                state.elapsed_s = resumed_elapsed_s + time.perf_counter() - started
                metrics = _report(meter, state, batch)
                tracker.log(metrics, state.nimg, state.elapsed_s)
                on_status(state.nimg, metrics, state.elapsed_s)
            if done or (advanced and is_due(state.nimg, batch, settings.snapshot_kimg)):
                output.write(state.G, state.G_ema, state.nimg)
            if checkpoint_due:
                _check_weights(state)
                checkpoints.save(state.state_dict())
            if ending:
                break

            images, labels = batches.next_batch()
            real = from_uint8(images.to(runtime.device, non_blocking=True))
            labels = labels.to(runtime.device, non_blocking=True)
            g_lr, d_lr = learning_rates_at(settings, state.nimg)
            set_learning_rate(state.g_optimizer, g_lr)
            set_learning_rate(state.d_optimizer, d_lr)
            draws = draw_for_d(settings, state.nimg, runtime.device)
            meter.add(d_step(settings, state.G, state.D, state.d_optimizer, real, labels, draws))
            if settings.updates_g_at(state.nimg):
                g_draws = draw_for_g(settings, state.nimg, runtime.device)
                meter.add(g_step(settings, state.G, state.D, state.g_optimizer, g_draws))
                halflife_nimg = settings.ema_halflife_nimg_at(state.nimg)
                update_ema(state.G_ema, state.G, batch * settings.d_steps, halflife_nimg)
            state.nimg += batch

    return Summary(
        nimg=state.nimg,
        start_nimg=start_nimg,
        elapsed_s=state.elapsed_s,
        stopped_by=None if done else stopped_by,
    )


def _report(meter: Meter, state: TrainState, batch: int) -> dict[str, float]:
    metrics = meter.read(batch)
    broken = [name for name, value in metrics.items() if not math.isfinite(value)]
    if broken:
        raise UserError(
            f"training broke down: {', '.join(broken)} not finite at nimg {state.nimg} (rank 0); "
            "lower train.g_lr and train.d_lr, or set train.precision to fp32"
        )
    for name, network in (("g", state.G), ("d", state.D)):
        for parameter_name, parameter in network.attention.named_parameters():
            size, _, kind = parameter_name.partition(".")
            if kind == "gamma":
                block = network.config.attention_block
                metrics[f"{block}/{name}_gamma_{size}"] = parameter.item()
    return metrics


def _check_weights(state: TrainState) -> None:
    for name, network in (("G", state.G), ("D", state.D)):
        for parameter_name, parameter in network.named_parameters():
            if not torch.isfinite(parameter).all():
                raise UserError(
                    f"training broke down: {name}.{parameter_name} is not finite at nimg "
                    f"{state.nimg} (rank 0); lower train.g_lr and train.d_lr"
                )
