"""ImageNet's tree and its tar of tars, with and without the words of its synsets."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from pipeline.core.errors import UserError
from pipeline.data.sources.select import open_source
from tests.support.photographs import encoded

SYNSETS = ("n01440764", "n02012849", "n03126707")
TEXT = "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\nn09999999 unused\n"
NAMES = ("tench", "crane (n02012849)", "crane (n03126707)")


def _images() -> dict[str, bytes]:
    return {
        f"{synset}/{synset}_{number}.JPEG": encoded(Image.new("L", (9, 9), number), "JPEG")
        for synset in SYNSETS
        for number in (10, 9)
    }


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def _write_tree(folder: Path) -> None:
    for name, content in _images().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _write_tar(path: Path) -> None:
    with tarfile.open(path, "w") as outer:
        for synset in reversed(SYNSETS):
            file = io.BytesIO()
            with tarfile.open(fileobj=file, mode="w") as inner:
                for name, content in _images().items():
                    if name.startswith(synset):
                        _add(inner, name.partition("/")[2], content)
            _add(outer, f"{synset}.tar", file.getvalue())


def _write_devkit(folder: Path) -> Path:
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")]
    rows = [line.partition(" ")[::2] for line in TEXT.splitlines()]
    synsets = np.array([(i, wnid, words) for i, (wnid, words) in enumerate(rows)], kind)
    path = folder / "ILSVRC2012_devkit_t12" / "data" / "meta.mat"
    path.parent.mkdir(parents=True)
    savemat(path, {"synsets": synsets.reshape(-1, 1)})
    return path


def test_the_tree(tmp_path: Path) -> None:
    _write_tree(tmp_path / "train")
    _write_tree(tmp_path / "val")
    (tmp_path / "LOC_synset_mapping.txt").write_text(TEXT)
    for path in (tmp_path, tmp_path / "train"):
        source = open_source("imagenet", str(path))
        assert source.name == "imagenet"
        assert source.class_names == NAMES
        assert source.items.keys == sorted(_images())
        assert source.items.labels.tolist() == [0, 0, 1, 1, 2, 2]
        assert list(source.read(source.items)) == [_images()[key] for key in source.items.keys]
        assert source.note == ""


def test_the_tar_of_tars_is_the_tree(tmp_path: Path) -> None:
    _write_tree(tmp_path / "tree" / "train")
    _write_tar(tmp_path / "ILSVRC2012_img_train.tar")
    (tmp_path / "synset_words.txt").write_text(TEXT)
    tree = open_source("imagenet", str(tmp_path / "tree"))
    for path in (tmp_path, tmp_path / "ILSVRC2012_img_train.tar"):
        source = open_source("imagenet", str(path))
        assert source.class_names == NAMES
        assert source.items.keys == tree.items.keys
        assert source.items.labels.tolist() == tree.items.labels.tolist()
        assert list(source.read(source.items)) == list(tree.read(tree.items))
        some = source.items.take(np.array([4, 1]))
        assert list(source.read(some)) == [_images()[key] for key in some.keys]


def test_words_come_from_the_devkit(tmp_path: Path) -> None:
    _write_tree(tmp_path / "train")
    meta = _write_devkit(tmp_path)
    assert open_source("imagenet", str(tmp_path)).class_names == NAMES
    content = meta.read_bytes()
    with tarfile.open(tmp_path / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as archive:
        _add(archive, "ILSVRC2012_devkit_t12/data/meta.mat", content)
    meta.unlink()
    assert open_source("imagenet", str(tmp_path)).class_names == NAMES
    (tmp_path / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"devkit_t12\.tar\.gz .* is no file of synsets' words"):
        open_source("imagenet", str(tmp_path))


def test_without_words_classes_are_synsets(tmp_path: Path) -> None:
    _write_tree(tmp_path / "train")
    source = open_source("imagenet", str(tmp_path))
    assert source.class_names == SYNSETS
    assert source.note == "no file with the synsets' words"


def test_other_layouts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    with pytest.raises(UserError, match=r"holds cats; expected train/ with a folder a synset"):
        open_source("imagenet", str(tmp_path))
    with tarfile.open(tmp_path / "ILSVRC2012_img_train.tar", "w") as outer:
        _add(outer, "readme.txt", b"hello")
    with pytest.raises(UserError, match=r"holds readme\.txt, no synset's"):
        open_source("imagenet", str(tmp_path))


@pytest.mark.parametrize("damage", ["cut", "header", "gzip"])
def test_damaged_tars_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "ILSVRC2012_img_train.tar"
    _write_tar(path)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "header":
        at = content.index(SYNSETS[0].encode() + b".tar")
        content[at : at + 300] = b"x" * 300
    else:
        content = bytearray(b"\x1f\x8b" + bytes(1000))
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"img_train\.tar .*fetch"):
        open_source("imagenet", str(path))
