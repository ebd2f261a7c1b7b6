"""The digits for a rehearsal of a study: shards and reference statistics, made if missing."""

from pathlib import Path

from pipeline.config.params import Params, override
from pipeline.data.ingest.dataset import write_dataset
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.data.sources.select import open_source
from pipeline.distributed.context import DistContext
from pipeline.distributed.devices import choose_device
from pipeline.jobs.reference import ReferencePaths, make_references_in_group

_FOLDER = Path("data/smoke")
DIGITS = {
    "data.source": "digits",
    "data.path": None,
    "data.classes": None,
    "data.limit": None,
    "data.resolution": 32,
    "data.channels": 1,
    "reference.extractors": ["dataset-cnn"],
}
"""What stands in the file's place, by dotted keys."""


def prepare_digits(params: Params) -> tuple[Params, str, str]:
    """The parameters for the digits, and the folders of their shards and reference statistics."""
    params = override(params, DIGITS)
    shards, reference = _FOLDER / "shards", _FOLDER / "reference"
    data, runtime = params.data, params.runtime
    if not (shards / "manifest.json").exists():
        print(f"making the shards of the digits in {shards}")
        write_dataset(
            open_source(data.source),
            shards,
            Preprocessing(resolution=data.resolution, channels=data.channels),
            heldout_fraction=data.heldout_fraction,
            shard_rows=data.shard_rows,
        )
    if not reference.is_dir():
        print(f"computing their reference statistics in {reference}")
        make_references_in_group(
            params,
            ReferencePaths(shards=str(shards), out=reference),
            choose_device(runtime.device, runtime.num_threads),
            DistContext(),
        )
    return params, str(shards), str(reference)
