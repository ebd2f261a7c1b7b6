"""Prepares the real data's side of every metric, and the data set's own classifier."""

from pathlib import Path

from pipeline.config.params import load_params
from pipeline.config.sections import ReferenceSection
from pipeline.data.reader import open_dataset
from pipeline.evaluation.extractors.weight_sources import weight_sources
from pipeline.evaluation.reference import make_references
from pipeline.training.allocator import keep_freed_memory
from pipeline.training.devices import choose_device
from stages.entry import run_stage, stage_parser


def main() -> None:
    parser = stage_parser("reference", __doc__, ReferenceSection)
    parser.add_argument("--shards", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--out", type=Path, required=True, help="folder for the real side")
    arguments = parser.parse_args()

    params = load_params()
    keep_freed_memory()
    device = choose_device(params.runtime.device, params.runtime.num_threads)
    protocols = make_references(
        open_dataset(arguments.shards),
        arguments.out,
        extractors=params.reference.extractors,
        sources=weight_sources(
            params.reference.inception_weights,
            params.reference.extractor_weights,
            params.runtime.cache_dir,
        ),
        cnn_epochs=params.reference.cnn_epochs,
        seed=params.reference.seed,
        device=device,
    )
    for protocol in protocols:
        print(
            f"{arguments.out / protocol.extractor}: {protocol.num_train} training and "
            f"{protocol.num_heldout} held-out images, {protocol.feature_dim} features each"
        )


if __name__ == "__main__":
    run_stage(main)
