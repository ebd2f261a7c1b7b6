"""Turns the source's images into Arrow shards with a manifest.

What was rejected stands in rejected.jsonl beside the shards, images with equal pixels in
duplicates.jsonl. Run again after it was killed, it goes on with the shards that it has. What
data.path: download fetches is kept in raw/ beside the shards' folder.
"""

import os
import shutil
import sys
from pathlib import Path

from pipeline.config.params import load_params
from pipeline.config.sections import DataSection, RuntimeSection
from pipeline.data.ingest import write_dataset
from pipeline.data.manifest import Manifest
from pipeline.data.processes import Runner, run_in_processes
from pipeline.data.recipe import Recipe
from pipeline.data.sources.select import open_source
from pipeline.data.upload import open_destination, upload_shards
from pipeline.data.verify import verify_shards
from pipeline.errors import UserError
from stages.entry import run_stage, stage_parser


def main() -> None:
    parser = stage_parser("shard", __doc__, DataSection)
    parser.add_argument("--out", type=Path, help="folder of the shards")
    parser.add_argument(
        "--to", metavar="s3://...", help="send them there too, or what is missing there"
    )
    parser.add_argument("--verify", metavar="DIR", help="check shards, make none")
    args = parser.parse_args()
    if args.verify is not None:
        if args.verify.startswith("s3://"):
            raise UserError(
                f"--verify takes a folder of this machine, not {args.verify}, whose shards are "
                "checked as they are downloaded"
            )
        manifest = verify_shards(Path(args.verify))
        print(f"{args.verify}: {manifest.rows} images intact, digest {manifest.digest[:12]}")
        return
    if args.out is None:
        raise UserError("--out is missing: the folder to write shards to, such as data/shards")
    params = load_params()
    data = params.data
    destination = None if args.to is None else open_destination(args.to)

    cache = args.out.absolute().with_name(args.out.name + ".source.tmp")
    source = open_source(
        data.source,
        data.path,
        classes=data.classes,
        limit=data.limit,
        image_column=data.image_column,
        label_column=data.label_column,
        cache=cache,
        downloads=args.out.absolute().with_name("raw"),
    )
    manifest = write_dataset(
        source,
        args.out,
        Recipe(
            resolution=data.resolution,
            channels=data.channels,
            resize=data.resize,
            crop=data.crop,
            background=data.background,
        ),
        heldout_fraction=data.heldout_fraction,
        shard_rows=data.shard_rows,
        max_rejected_fraction=data.max_rejected_fraction,
        run=_runner(params.runtime),
    )
    shutil.rmtree(cache, ignore_errors=True)
    _tell(manifest, args.out)
    if destination is not None:
        sent = upload_shards(args.out, destination)
        print(
            f"{args.to}: {sent.num_sent} shards sent ({sent.bytes_sent / 1e6:.1f} MB), "
            f"{sent.num_there} there before"
        )


def _runner(runtime: RuntimeSection) -> Runner:
    on_ray = runtime.launcher == "auto" and "RAY_ADDRESS" in os.environ
    if runtime.launcher == "ray" or on_ray:
        # Here, not above: it takes seconds to import.
        from pipeline.launching.ray_ingest import run_in_ray

        return run_in_ray(runtime.join_timeout_s)
    return run_in_processes(runtime.ingest_workers)


def _tell(manifest: Manifest, out: Path) -> None:
    train, heldout = manifest.splits["train"], manifest.splits["heldout"]
    size = sum(shard.bytes for shard in train.shards + heldout.shards)
    print(
        f"{out}: {manifest.name}, {train.rows} + {heldout.rows} held-out images of "
        f"{len(manifest.class_names)} classes ({min(train.class_counts)} to "
        f"{max(train.class_counts)} a class to train on), {size / 1e6:.1f} MB, "
        f"digest {manifest.digest[:12]}"
    )
    seen = manifest.observations
    if seen["note"]:
        print(seen["note"])
    if seen["rejected"]["images"]:
        print(f"{seen['rejected']['images']} images rejected, listed in {out}/rejected.jsonl")
    if seen["duplicates"]["images"]:
        print(f"{seen['duplicates']['images']} duplicates, listed in {out}/duplicates.jsonl")
    for warning in seen["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)


if __name__ == "__main__":
    run_stage(main)
