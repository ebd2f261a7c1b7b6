"""Verification finds every flipped bit; no flipped bit crashes a reader."""

import dataclasses
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import identity_digest, read_manifest, write_manifest
from pipeline.data.shards.shard_file import write_shard
from pipeline.data.shards.verify import verify_shards
from pipeline.storage.digest import sha256_file
from tests.support.project import ROOT
from tests.support.shard_folder import write_folder

NUM_FLIPS = 10_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "shards", train=[2, 1], heldout=[1], shape=(2, 2, 1), num_classes=1)
    return tmp_path / "shards"


def test_ten_thousand_flipped_bits_are_all_found(folder: Path) -> None:
    paths = sorted(folder.iterdir())
    assert len(paths) == 4
    contents = [path.read_bytes() for path in paths]
    descriptors = [os.open(path, os.O_WRONLY) for path in paths]
    sizes = np.cumsum([0, *(8 * len(content) for content in contents)])
    chance = random.Random(0)
    for _ in range(NUM_FLIPS):
        bit = chance.randrange(int(sizes[-1]))
        file = int(np.searchsorted(sizes, bit, side="right")) - 1
        byte, place = divmod(bit - int(sizes[file]), 8)
        sound = contents[file][byte]
        os.pwrite(descriptors[file], bytes([sound ^ (1 << place)]), byte)
        with pytest.raises(UserError) as caught:
            verify_shards(folder)
        assert str(caught.value).startswith(f"{paths[file]} is damaged: "), (file, byte, place)
        os.pwrite(descriptors[file], bytes([sound]), byte)
    for descriptor in descriptors:
        os.close(descriptor)
    assert verify_shards(folder) == read_manifest(folder)


_READ_DAMAGED = """
import random, sys
from pathlib import Path
import numpy as np
from pipeline.data.shards.reader import open_dataset
from pipeline.core.errors import UserError

folder, counts, chance = Path(sys.argv[1]), {True: 0, False: 0}, random.Random(int(sys.argv[2]))
for path in sorted(folder.glob("*.arrow")):
    content = path.read_bytes()
    for _ in range(700):
        damaged = bytearray(content)
        for _ in range(chance.choice((1, 1, 2, 16))):
            damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            dataset = open_dataset(folder, verify="size")
            for rows in (dataset.train, dataset.heldout):
                everything = np.arange(len(rows))
                rows.gather(everything), rows.labels_of(everything), rows.keys(everything)
            counts[True] += 1
        except UserError as error:
            assert str(path) in str(error), error
            counts[False] += 1
    path.write_bytes(content)
print(counts[True], counts[False])
"""


def test_damaged_structure_raises_and_never_crashes(folder: Path) -> None:
    # In a process of its own, which a wild address would end.
    done = subprocess.run(
        [sys.executable, "-c", _READ_DAMAGED, folder, "3"],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    opened, refused = map(int, done.stdout.split())
    assert opened + refused == 3 * 700
    assert min(opened, refused) > 100


def test_an_intact_folder_passes(tmp_path: Path) -> None:
    write_folder(tmp_path, train=[30, 2, 15], heldout=[3])
    assert verify_shards(tmp_path).rows == 50
    write_folder(tmp_path / "one", train=[3], num_classes=1)
    verify_shards(tmp_path / "one")


def test_lengths_and_missing_files_are_found(folder: Path) -> None:
    path = folder / "train-00001.arrow"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"train-00001.arrow is damaged: it has \d+ bytes, not"):
        verify_shards(folder)
    path.unlink()
    with pytest.raises(UserError, match=r"train-00001.arrow is missing; make it with `dvc repro"):
        verify_shards(folder)
    path.mkdir()
    with pytest.raises(UserError, match=r"train-00001\.arrow"):
        verify_shards(folder)
    with pytest.raises(UserError, match="nowhere is no folder of shards"):
        verify_shards(folder / "nowhere")


@pytest.mark.parametrize(
    ("labels", "keys", "says"),
    [
        ([0, 5], ["a", "b"], "unknown labels"),
        ([0, -1], ["a", "b"], "unknown labels"),
        ([1, 1], ["a", "b"], "are not the manifest's"),
        ([0, 1], ["a", ""], "an image has no key"),
    ],
)
def test_wrong_content_with_correct_hashes_is_found(
    tmp_path: Path, labels: list[int], keys: list[str], says: str
) -> None:
    write_folder(tmp_path, train=[2])
    path = tmp_path / "train-00000.arrow"
    write_shard(path, np.zeros((2, 4, 4, 3), np.uint8), np.array(labels, np.int32), keys)
    manifest = read_manifest(tmp_path)
    entry = dataclasses.replace(
        manifest.splits["train"].shards[0], bytes=path.stat().st_size, sha256=sha256_file(path)
    )
    train = dataclasses.replace(manifest.splits["train"], shards=(entry,))
    changed = dataclasses.replace(manifest, splits={**manifest.splits, "train": train})
    write_manifest(tmp_path, dataclasses.replace(changed, digest=identity_digest(changed)))
    with pytest.raises(UserError, match=says):
        verify_shards(tmp_path)
