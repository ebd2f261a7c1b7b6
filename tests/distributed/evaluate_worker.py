"""One process that prepares reference statistics and scores a model: ROOT, OUT and THREADS.

ROOT holds `shards` and `model`; reference statistics, metrics and printed text go to OUT.
"""

import sys
from pathlib import Path

import torch

from pipeline.data.shards.reader import open_dataset
from pipeline.distributed.group import process_group
from pipeline.evaluation.executor import ParallelExecutor
from stages.entry import run_stage
from tests.support.evaluated_models import Prepared
from tests.support.evaluation_run import evaluate
from tests.support.subjects import write_references


def main() -> None:
    root, out, num_threads = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    with process_group("cpu", 120) as context:
        torch.set_num_threads(num_threads)
        prepare_and_score(root, out, ParallelExecutor.on("cpu", context))


def prepare_and_score(root: Path, out: Path, executor: ParallelExecutor) -> None:
    """Run by each process."""
    prepared, reference = Prepared(root), out / "reference"
    write_references(open_dataset(prepared.shards), reference, keep_features=40, executor=executor)
    evaluate(prepared, out, reference_dir=reference, executor=executor)


if __name__ == "__main__":
    run_stage(main)
