"""From the sections of `params.yaml` to the plain settings of metrics and extractors."""

from pipeline.config.params import Params
from pipeline.evaluation.extractors.weight_sources import WeightSources, weight_sources
from pipeline.evaluation.settings import EvaluateSettings, SelectionSettings

_OF_SELECTION = {"selection_seed", "selection_samples"}


def evaluate_settings(params: Params) -> EvaluateSettings:
    """How a model is reported."""
    return EvaluateSettings(**params.evaluate.model_dump(exclude=_OF_SELECTION))


def selection_settings(params: Params) -> SelectionSettings:
    """How the best of several snapshots is found."""
    evaluate = params.evaluate
    return SelectionSettings(
        num_samples=evaluate.selection_samples or evaluate.num_samples,
        seed=evaluate.selection_seed,
    )


def extractor_sources(params: Params) -> WeightSources:
    """Where extractors have their weights from."""
    return weight_sources(
        params.reference.inception_weights,
        params.reference.extractor_weights,
        params.runtime.cache_dir,
    )
