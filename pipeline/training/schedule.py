"""Learning rates as a function of nimg."""

from pipeline.training.settings import TrainSettings

LINEAR_DECAY_START = 8 / 9
"""Share of the run before linear decay: 400k of 450k iterations, as SNGAN's (sngan_projection)."""


def learning_rates_at(settings: TrainSettings, nimg: int) -> tuple[float, float]:
    """G's and D's rate at `nimg`.

    `lr_decay: linear` lowers both to 0 over the end of the run. `g_lr_halflife_kimg` halves G's
    alone with every half-life, so that D is ever closer to its optimum for the generator at hand,
    which is what two time scales are for (Heusel et al. 2017); it does not depend on the length of
    the run, so a longer run can continue a shorter one.
    """
    factor = 1.0
    if settings.lr_decay == "linear":
        progress = nimg / settings.total_nimg
        factor = min(1.0, (1 - progress) / (1 - LINEAR_DECAY_START))
    g_factor = factor
    if settings.g_lr_halflife_kimg is not None:
        g_factor *= 0.5 ** (nimg / (settings.g_lr_halflife_kimg * 1000))
    return settings.g_lr * g_factor, settings.d_lr * factor
