"""Writes the results of the earlier stages as one page, and the plots for DVC.

The page and, as a model version, the generator are logged to MLflow. `dvc repro report` runs this.
"""

from pathlib import Path

from pipeline.config.params import load_params
from pipeline.config.schema import ReportSection
from pipeline.jobs.report import make_report
from pipeline.reporting.build import ReportOutputs
from pipeline.reporting.inputs import ReportPaths
from stages.entry import run_stage, stage_parser


def main() -> None:
    parser = stage_parser("report", __doc__, ReportSection)
    for name, what in (
        ("model", "folder of the exported model"),
        ("metrics", "metrics.json of the evaluation"),
        ("protocol", "protocol.json of the evaluation"),
        ("samples", "folder of the evaluation's samples"),
        ("shards", "folder of the shards"),
        ("out", "HTML file to write"),
        ("curves", "CSV file to write"),
        ("figures", "folder to write PNG files to"),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, help=what)
    paths = parser.parse_args()

    make_report(
        load_params(),
        ReportPaths(
            model=paths.model,
            metrics=paths.metrics,
            protocol=paths.protocol,
            samples=paths.samples,
            shards=paths.shards,
        ),
        ReportOutputs(page=paths.out, curves=paths.curves, figures=paths.figures),
    )


if __name__ == "__main__":
    run_stage(main)
