"""The generator's learning rate as a function of nimg."""

from torch.optim import Optimizer


def decay_at(nimg: int, halflife_kimg: float | None) -> float:
    """Factor of the generator's learning rate at `nimg`: 1 at first, halved with each half-life.

    The discriminator's stays constant, so that it is ever closer to its optimum for the generator
    at hand, which is what two time scales are for (Heusel et al. 2017). None keeps both constant,
    as the released SAGAN code does. The factor does not depend on the length of the run, so a
    longer run can continue a shorter one.
    """
    return 1.0 if halflife_kimg is None else 0.5 ** (nimg / (halflife_kimg * 1000))


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Sets the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = lr
