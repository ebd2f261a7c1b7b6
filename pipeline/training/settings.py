"""Resolved settings of training: what decides the weights, and what does not."""

from dataclasses import dataclass
from typing import Literal

from models.configuration import DiscriminatorConfig, GeneratorConfig
from pipeline.core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Everything that decides a run's result, besides the data."""

    generator: GeneratorConfig
    discriminator: DiscriminatorConfig
    seed: int
    total_kimg: float
    batch: int
    """Global batch, images."""
    g_lr: float
    d_lr: float
    g_lr_halflife_kimg: float | None = None
    """Of the generator's rate alone; None: it does not halve."""
    lr_decay: str = "constant"
    """constant, or linear: both rates fall to 0 over the end of the run."""
    loss: str = "hinge"
    gp_weight: float = 10.0
    class_loss_weight: float = 1.0
    d_steps: int = 1
    """Updates of D, on a batch of real images each, for each of G."""
    flip: bool = False
    """Whether real images are mirrored at random."""
    diffaugment: tuple[str, ...] = ()
    adam_beta1: float
    adam_beta2: float
    adam_eps: float
    ema_halflife_kimg: float | None
    """None: no averaging, the averaged generator is the raw one."""
    ema_start_kimg: float = 0.0
    """Until then the average is the raw generator."""
    precision: str
    """fp64, fp32 or bf16."""
    snapshot_kimg: float
    order: Literal["global", "block"] = "global"
    order_window: int = 8
    """Shards that a block order mixes at a time."""

    @property
    def total_nimg(self) -> int:
        """Length of the run in images."""
        return run_nimg(self.total_kimg, self.batch)

    @property
    def depends_on_length(self) -> bool:
        """Whether the weights on the way depend on total_kimg."""
        return self.lr_decay == "linear"

    def updates_g_at(self, nimg: int) -> bool:
        """Whether G is updated after D's update on the images from `nimg` on."""
        return (nimg // self.batch + 1) % self.d_steps == 0

    def ema_halflife_nimg_at(self, nimg: int) -> float:
        """Half-life of the average in images; 0 where it follows the raw generator at once."""
        if self.ema_halflife_kimg is None or nimg < self.ema_start_kimg * 1000:
            return 0.0
        return self.ema_halflife_kimg * 1000


@dataclass(frozen=True, kw_only=True)
class RuntimeSettings:
    """What cannot change a result."""

    device: str = "cpu"
    """A torch device."""
    batch_per_process: int | None = None
    """Images that a process puts through at a time; None: its whole share."""
    on_collapse: str = "log"
    """log, or stop."""
    status_kimg: float = 1.0
    checkpoint_kimg: float = 8.0
    keep_checkpoints: int = 3
    eval_kimg: float | None = None
    """Distance of evaluations; None: there are none."""

    @property
    def checkpoint_nimg(self) -> int:
        """Distance of checkpoints in images."""
        return round(self.checkpoint_kimg * 1000)


def run_nimg(total_kimg: float, batch: int) -> int:
    """Length of a run in images: whole batches, at least `total_kimg`."""
    return -(-round(total_kimg * 1000) // batch) * batch


def check_batch(batch: int, num_images: int) -> None:
    """Raises UserError when the training split of `num_images` does not fill a batch."""
    if batch > num_images:
        raise UserError(
            f"train.batch = {batch} is larger than the training split of {num_images} images; "
            f"choose at most {num_images}"
        )


def check_shares(settings: TrainSettings, runtime: RuntimeSettings, world_size: int) -> None:
    """Raises UserError when `world_size` processes cannot share the batch; says which sizes work.

    Ghost batches must not be cut, neither between processes nor by `batch_per_process`.
    """
    batch, config = settings.batch, settings.generator
    unit = config.bn_ghost_batch if config.bn_statistics == "ghost" else 1
    if batch % (world_size * unit) != 0:
        counts = [n for n in range(1, batch // unit + 1) if batch % (n * unit) == 0]
        whole = " without cutting a ghost batch of " + str(unit) if unit > 1 else ""
        below = batch // (world_size * unit) * world_size * unit
        sizes = [size for size in (below, below + world_size * unit) if size > 0]
        raise UserError(
            f"train.batch = {batch} cannot be shared by {world_size} processes{whole}; use "
            f"{', '.join(map(str, counts))} processes, or a batch of "
            f"{' or '.join(map(str, sizes))}"
        )
    share, part = batch // world_size, runtime.batch_per_process
    if part is None or part >= share:
        return
    if config.bn_statistics != "ghost":
        raise UserError(
            f"runtime.batch_per_process = {part} would cut the batch whose statistics "
            f"model.bn_statistics: {config.bn_statistics} takes whole (a process's share is "
            f"{share} images); set model.bn_statistics: ghost, or more processes"
        )
    if share % part != 0 or part % unit != 0:
        valid = [n for n in range(unit, share + 1, unit) if share % n == 0]
        raise UserError(
            f"runtime.batch_per_process = {part} does not divide a process's share of {share} "
            f"images into whole ghost batches of {unit}; choose one of "
            f"{', '.join(map(str, valid))}"
        )


def is_eval_due(nimg: int, settings: TrainSettings, runtime: RuntimeSettings) -> bool:
    """Whether the generator is to be evaluated at `nimg`: at each interval, and at the end."""
    if runtime.eval_kimg is None:
        return False
    return nimg >= settings.total_nimg or is_due(nimg, settings.batch, runtime.eval_kimg)


def is_due(nimg: int, batch: int, interval_kimg: float) -> bool:
    """Whether the last `batch` images up to `nimg` crossed a multiple of the interval."""
    interval_nimg = interval_kimg * 1000
    return nimg > 0 and nimg // interval_nimg != (nimg - batch) // interval_nimg
