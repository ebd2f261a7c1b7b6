"""Makes a study's page and pictures from its folder."""

from pathlib import Path

from pipeline.reporting.studies.drawings import drawings
from pipeline.reporting.studies.figures import write_study_figures
from pipeline.reporting.studies.page import render_study
from pipeline.search.results import study_results
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
    shown = drawings(results)
    text = render_study(results, described, shown)
    figures = write_study_figures(folder / FIGURES_NAME, shown)
    write_text(folder / PAGE_NAME, text)
    return figures
