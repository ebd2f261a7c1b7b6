"""Turns the source's images into Arrow shards with a manifest."""

from pathlib import Path

from pipeline.config.params import load_params
from pipeline.config.sections import DataSection
from pipeline.data.ingest import write_dataset
from pipeline.data.sources.select import open_source
from stages.entry import run_stage, stage_parser


def main() -> None:
    parser = stage_parser("shard", __doc__, DataSection)
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    args = parser.parse_args()
    data = load_params().data

    source = open_source(data.source, data.path, data.resolution, data.channels)
    manifest = write_dataset(
        source,
        args.out,
        resolution=data.resolution,
        channels=data.channels,
        heldout_fraction=data.heldout_fraction,
        shard_rows=data.shard_rows,
    )
    train, heldout = manifest.splits["train"], manifest.splits["heldout"]
    size = sum(shard.bytes for shard in train.shards + heldout.shards)
    print(
        f"{args.out}: {manifest.name}, {train.rows} + {heldout.rows} held-out images of "
        f"{len(manifest.class_names)} classes ({min(train.class_counts)} to "
        f"{max(train.class_counts)} a class to train on), {size / 1e6:.1f} MB, "
        f"digest {manifest.digest[:12]}"
    )
    if source.note:
        print(source.note)


if __name__ == "__main__":
    run_stage(main)
