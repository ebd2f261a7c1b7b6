"""Makes the report: the page, the table of its curves and the plots that DVC shows."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.reporting.attention_figure import attention_figures
from pipeline.reporting.curves import charts, curves_csv
from pipeline.reporting.figures import write_figures
from pipeline.reporting.inputs import ReportPaths, read_inputs
from pipeline.reporting.page import PageOptions, render_page
from pipeline.storage.atomic import write_text


@dataclass(frozen=True, kw_only=True)
class ReportOutputs:
    """Where the report goes."""

    page: Path
    """The HTML file."""
    curves: Path
    """The CSV file."""
    figures: Path
    """Folder of the PNG files."""


def build_report(
    paths: ReportPaths,
    outputs: ReportOutputs,
    *,
    samples_per_class: int,
    attention_samples: int,
    real_per_class: int = 5,
) -> None:
    """Reads the outputs of the earlier stages and writes the report, the page last.

    Raises UserError for an input that is missing or malformed; then nothing was written.
    """
    inputs = read_inputs(paths)
    curves = charts(inputs.statuses)
    attention = attention_figures(inputs, attention_samples)
    page = render_page(
        inputs,
        curves,
        attention,
        PageOptions(samples_per_class=samples_per_class, real_per_class=real_per_class),
    )
    write_text(outputs.curves, curves_csv(inputs.statuses))
    write_figures(outputs.figures, inputs, curves, attention)
    write_text(outputs.page, page)
