"""The stage `shard`: any source of images as a folder of shards, uploaded on request."""

import os
import shutil
import sys
from pathlib import Path

from pipeline.config.params import Params
from pipeline.config.schema import RuntimeSection
from pipeline.core.errors import UserError
from pipeline.data.ingest.dataset import write_dataset
from pipeline.data.ingest.executors import Executor, process_executor
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.data.shards.manifest import Manifest
from pipeline.data.shards.upload import open_destination, upload_shards
from pipeline.data.shards.verify import verify_shards
from pipeline.data.sources.select import open_source


def make_shards(params: Params, out: Path, upload_to: str | None) -> None:
    """Writes the shards of `params.data` to `out`, and to `upload_to`, an `s3://` address.

    Prints a summary, and warnings to stderr. Raises UserError for images that cannot be read and
    for an address that cannot be written, the latter before the ingest.
    """
    data = params.data
    destination = None if upload_to is None else open_destination(upload_to)
    cache = out.absolute().with_name(out.name + ".source.tmp")
    source = open_source(
        data.source,
        data.path,
        classes=data.classes,
        limit=data.limit,
        image_column=data.image_column,
        label_column=data.label_column,
        cache=cache,
        downloads=out.absolute().with_name("raw"),
    )
    manifest = write_dataset(
        source,
        out,
        Preprocessing(
            resolution=data.resolution,
            channels=data.channels,
            resize=data.resize,
            crop=data.crop,
            background=data.background,
        ),
        heldout_fraction=data.heldout_fraction,
        shard_rows=data.shard_rows,
        max_rejected_fraction=data.max_rejected_fraction,
        executor=_executor(params.runtime),
    )
    shutil.rmtree(cache, ignore_errors=True)
    _print_summary(manifest, out)
    if destination is not None:
        sent = upload_shards(out, destination)
        print(
            f"{upload_to}: {sent.num_sent} shards sent ({sent.bytes_sent / 1e6:.1f} MB), "
            f"{sent.num_present} there before"
        )


def verify(folder: str) -> None:
    """Checks every image of a folder of shards; raises UserError for the first damaged shard."""
    if folder.startswith("s3://"):
        raise UserError(
            f"--verify takes a folder of this machine, not {folder}, whose shards are "
            "checked as they are downloaded"
        )
    manifest = verify_shards(Path(folder))
    print(f"{folder}: {manifest.rows} images intact, digest {manifest.digest[:12]}")


def _executor(runtime: RuntimeSection) -> Executor:
    on_ray = runtime.launcher == "auto" and "RAY_ADDRESS" in os.environ
    if runtime.launcher == "ray" or on_ray:
        # Here, not above: it takes seconds to import.
        from pipeline.distributed.ray.ingest import ray_executor

        return ray_executor(runtime.join_timeout_s)
    return process_executor(runtime.ingest_workers)


def _print_summary(manifest: Manifest, out: Path) -> None:
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
