"""Learning rates as a function of nimg."""

from torch.optim import Optimizer


def decay_at(nimg: int, halflife_kimg: float | None) -> float:
    """Factor of the learning rates at `nimg`: 1 at the start, halved with each half-life.

    None keeps them constant, as the released SAGAN code does. The factor does not depend on the
    length of the run, so a longer run can continue a shorter one.
    """
    return 1.0 if halflife_kimg is None else 0.5 ** (nimg / (halflife_kimg * 1000))


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Sets the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = lr
