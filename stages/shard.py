"""Turns the source's images into Arrow shards with a manifest.

rejected.jsonl beside the shards lists the rejected images, duplicates.jsonl those with equal
pixels. After an interruption the same command keeps the shards that are complete. What
data.path: download fetches is kept in raw/ beside the shards' folder.
"""

from pathlib import Path

from pipeline.config.params import load_params
from pipeline.config.schema import DataSection
from pipeline.core.errors import UserError
from pipeline.jobs.shard import make_shards, verify
from stages.entry import run_stage, stage_parser


def main() -> None:
    parser = stage_parser("shard", __doc__, DataSection)
    parser.add_argument("--out", type=Path, help="folder of the shards")
    parser.add_argument(
        "--to", metavar="s3://...", help="upload to this address what it does not have yet"
    )
    parser.add_argument("--verify", metavar="DIR", help="check shards, make none")
    args = parser.parse_args()
    if args.verify is not None:
        verify(args.verify)
        return
    if args.out is None:
        raise UserError("--out is missing: the folder to write shards to, such as data/shards")
    make_shards(load_params(), args.out, args.to)


if __name__ == "__main__":
    run_stage(main)
