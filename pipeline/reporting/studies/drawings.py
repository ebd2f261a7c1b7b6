"""All that is drawn of a study, whatever it is drawn with."""

from dataclasses import dataclass

from pipeline.reporting.studies.bars import Bars, placement_bars
from pipeline.reporting.studies.learning_curves import LearningCurves, learning_curves
from pipeline.reporting.studies.rate_map import RateMap, rate_maps
from pipeline.search.results import StudyResults


@dataclass(frozen=True, kw_only=True)
class Drawings:
    """What a study has to show; None and none where it has not."""

    curves: LearningCurves | None
    maps: tuple[RateMap, ...]
    bars: Bars | None


def drawings(results: StudyResults) -> Drawings:
    """Of a study at any moment."""
    return Drawings(
        curves=learning_curves(results), maps=rate_maps(results), bars=placement_bars(results)
    )
