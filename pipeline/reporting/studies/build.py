"""Makes a study's page and figures from its folder."""

from pathlib import Path

import altair as alt
from altair.typing import ChartType

from pipeline.reporting.charts import page_chart, write_png
from pipeline.reporting.studies.bars import configuration_bars
from pipeline.reporting.studies.learning_curves import learning_curves
from pipeline.reporting.studies.page import StudyCharts, render_study
from pipeline.reporting.studies.rate_map import rate_map_chart, rate_maps
from pipeline.search.results import StudyResults, study_results
from pipeline.search.study_folder import read_study
from pipeline.storage.atomic import write_text

PAGE_NAME = "index.html"
FIGURES_NAME = "figures"


def write_study_page(folder: Path) -> dict[str, Path]:
    """Writes `index.html` and `figures/` of a study at any moment.

    Returns the PNG files by name: curves, rates, placements. Raises UserError for a folder that is
    no study.
    """
    results, described = study_results(folder), read_study(folder)
    text = render_study(results, described, _charts_of_page(results))
    figures = _write_figures(folder / FIGURES_NAME, results)
    write_text(folder / PAGE_NAME, text)
    return figures


def _charts_of_page(results: StudyResults) -> StudyCharts:
    curves, hovering = learning_curves(results), learning_curves(results, interactive=True)
    bars = configuration_bars(results)
    return StudyCharts(
        curves=page_chart(curves, hovering) if curves and hovering else None,
        maps=tuple(
            page_chart(rate_map_chart(m), rate_map_chart(m, interactive=True))
            for m in rate_maps(results)
        ),
        bars=page_chart(bars, bars) if bars else None,
    )


def _write_figures(folder: Path, results: StudyResults) -> dict[str, Path]:
    maps = [rate_map_chart(chart) for chart in rate_maps(results)]
    charts: dict[str, ChartType | None] = {
        "curves": learning_curves(results),
        "rates": alt.hconcat(*maps) if maps else None,
        "placements": configuration_bars(results),
    }
    files = {name: folder / f"{name}.png" for name, chart in charts.items() if chart is not None}
    for name, file in files.items():
        chart = charts[name]
        assert chart is not None
        write_png(chart, file)
    return files
