"""The stage `report`: the page and DVC's plots, sent to MLflow with the generator."""

from dataclasses import replace
from pathlib import Path

from pipeline.config.params import Params
from pipeline.reporting.build import ReportOutputs, build_report
from pipeline.reporting.inputs import ReportPaths
from pipeline.tracking.finished_run import open_run


def make_report(params: Params, inputs: ReportPaths, outputs: ReportOutputs) -> None:
    """Writes the page, the curves and the figures, and logs them to the run that made the model.

    Raises UserError for missing or unreadable results of the earlier stages.
    """
    build_report(
        replace(inputs, runs=Path(params.runtime.runs_dir)),
        outputs,
        samples_per_class=params.report.samples_per_class,
        attention_samples=params.report.attention_samples,
    )
    run = open_run(
        inputs.model,
        tracker=params.runtime.tracker,
        uri=params.runtime.tracking_uri,
        experiment=params.runtime.experiment,
        runs_dir=Path(params.runtime.runs_dir),
    )
    attention = outputs.figures / "attention.png"
    run.log_report(outputs.page, images={"attention": attention} if attention.exists() else None)
    run.register_generator(inputs.model / "generator.safetensors")
