"""What the training loop needs to know, as plain data."""

from dataclasses import dataclass

from models.architecture import DiscriminatorConfig, GeneratorConfig


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
    g_lr_halflife_kimg: float | None
    """None: constant."""
    adam_beta1: float
    adam_beta2: float
    adam_eps: float
    ema_halflife_kimg: float
    precision: str
    """fp32 or bf16."""
    snapshot_kimg: float

    @property
    def total_nimg(self) -> int:
        """Length of the run in images: whole batches, at least total_kimg."""
        return -(-round(self.total_kimg * 1000) // self.batch) * self.batch


@dataclass(frozen=True, kw_only=True)
class RuntimeSettings:
    """What cannot change a result."""

    device: str = "cpu"
    """A torch device."""
    status_kimg: float = 1.0
    checkpoint_kimg: float = 8.0
    keep_checkpoints: int = 3


def is_due(nimg: int, batch: int, interval_kimg: float) -> bool:
    """Whether the last `batch` images up to `nimg` crossed a multiple of the interval."""
    interval_nimg = interval_kimg * 1000
    return nimg > 0 and nimg // interval_nimg != (nimg - batch) // interval_nimg
