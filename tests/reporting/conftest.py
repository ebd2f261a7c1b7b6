"""A report of the digits, built once."""

import pytest

from pipeline.reporting.build import build_report
from tests.support.stage_outputs import write_stage_outputs


@pytest.fixture(scope="session")
def digits_report(tmp_path_factory, digits_shards):
    """Paths of a report of the digits; read it only."""
    stages = write_stage_outputs(tmp_path_factory.mktemp("report"), digits_shards)
    build_report(stages.inputs, stages.outputs, samples_per_class=10, attention_samples=4)
    return stages
