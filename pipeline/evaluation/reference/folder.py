"""`data/reference/`: the real data's side of the metrics on disk.

<extractor>/moments.safetensors   of all images of both splits
<extractor>/train.arrow           kept features of the training split
<extractor>/heldout.arrow         the same of the held-out one; missing where that is empty
<extractor>/weights.safetensors   the extractor itself, where it was trained here
<extractor>/pixels.json           spread of the training images within each class
<extractor>/protocol.json         what all this is, with the files' hashes; written last
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pipeline.core.errors import UserError
from pipeline.data.shards.feature_file import open_features, write_features
from pipeline.data.shards.manifest import Manifest
from pipeline.evaluation.collector import Collected
from pipeline.evaluation.metrics.moments import Moments
from pipeline.evaluation.reference.protocol import Reference, ReferenceProtocol
from pipeline.storage.atomic import atomic_write, write_json
from pipeline.storage.digest import sha256_file

FORMAT = "sagan-lab/reference/2"
MOMENTS_FILE = "moments.safetensors"
PROTOCOL_FILE = "protocol.json"
PIXELS_FILE = "pixels.json"
_MEND = "make it anew with `dvc repro --force reference`"
_MAX_NAMED = 5


def write_reference(
    folder: Path,
    reference: Reference,
    keys: Mapping[str, Sequence[str]],
    others: tuple[str, ...] = (),
) -> None:
    """Writes one extractor's folder; `others` are files already there that belong to it.

    `keys` say of each split where the images came from whose features are kept.
    """
    (folder / PROTOCOL_FILE).unlink(missing_ok=True)
    splits = {"train": reference.train, "heldout": reference.heldout}
    arrays: dict[str, npt.NDArray[Any]] = {}
    names = list(others)
    for name, split in splits.items():
        if split is None:
            continue
        assert split.labels is not None
        moments = split.moments
        arrays |= {
            f"{name}.count": np.array(moments.count, np.int64),
            f"{name}.mean": moments.mean,
            f"{name}.scatter": moments.scatter,
        }
        assert split.labels is not None
        with atomic_write(folder / f"{name}.arrow") as temporary:
            write_features(temporary, split.features, split.logits, split.labels, keys[name])
        names.append(f"{name}.arrow")
    with atomic_write(folder / MOMENTS_FILE) as temporary:
        save_file(arrays, temporary)
    hashes = {name: sha256_file(folder / name) for name in (MOMENTS_FILE, *names)}
    content = {"format": FORMAT, **dataclasses.asdict(reference.protocol), "files": hashes}
    write_json(folder / PROTOCOL_FILE, content)


def copy_reference(source: Path, folder: Path) -> None:
    """Makes `folder` what the intact `source` is, the description last."""
    (folder / PROTOCOL_FILE).unlink(missing_ok=True)
    for name in (*_read_json(source / PROTOCOL_FILE)["files"], PROTOCOL_FILE):
        with atomic_write(folder / name) as temporary:
            shutil.copyfile(source / name, temporary)


def read_protocol(folder: Path, manifest: Manifest) -> ReferenceProtocol:
    """What one extractor's folder is, all of whose files are intact; raises as `read_reference`."""
    path = folder / PROTOCOL_FILE
    content = _read_json(path)
    try:
        if content.pop("format") != FORMAT:
            raise UserError(f"{path} is of another version of this program; {_MEND}")
        files = content.pop("files")
        protocol = ReferenceProtocol(**content)
        check_same_dataset(path, protocol.dataset_digest, manifest)
        for name, expected in files.items():
            if sha256_file(folder / name) != expected:
                raise UserError(f"{folder / name} is damaged or not of this {path.name}; {_MEND}")
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing; {_MEND}") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error!r}); {_MEND}") from None
    return protocol


def read_reference(folder: Path, manifest: Manifest) -> Reference:
    """Opens one extractor's folder of the data set `manifest`; features stay on the disk.

    Raises UserError where it is missing, damaged or that of another data set.
    """
    protocol = read_protocol(folder, manifest)
    try:
        arrays = load_file(folder / MOMENTS_FILE)
        train = _split(folder, arrays, "train")
        heldout = _split(folder, arrays, "heldout") if "heldout.count" in arrays else None
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing; {_MEND}") from None
    except (KeyError, ValueError, SafetensorError) as error:
        raise UserError(f"{folder} is damaged ({error}); {_MEND}") from None
    return Reference(protocol=protocol, train=train, heldout=heldout)


def write_pixels(folder: Path, spread: npt.NDArray[np.float64], manifest: Manifest) -> None:
    """Writes the spread within each class, [classes], of the training split."""
    values = [None if np.isnan(value) else float(value) for value in spread]
    content = {"num_real": manifest.splits["train"].rows, "spread_by_class": values}
    write_json(
        folder / PIXELS_FILE, {"format": FORMAT, "dataset_digest": manifest.digest, **content}
    )


def read_pixels(folder: Path, manifest: Manifest) -> npt.NDArray[np.float64]:
    """The spread within each class, [classes], NaN where a class has none; see `read_reference`."""
    path = folder / PIXELS_FILE
    content = _read_json(path)
    try:
        check_same_dataset(path, content["dataset_digest"], manifest)
        return np.array(content["spread_by_class"], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error!r}); {_MEND}") from None


def check_same_dataset(
    path: Path, digest: str, manifest: Manifest, class_names: Sequence[str] | None = None
) -> None:
    """Raises UserError when `path` was made of another data set than `manifest`'s.

    `class_names` are its classes, where it says them.
    """
    if digest == manifest.digest:
        return
    classes = ""
    if class_names is not None and tuple(class_names) != manifest.class_names:
        classes = f", {_class_difference(class_names, manifest.class_names)}"
    raise UserError(
        f"{path} was made of another data set ({digest[:12]}{classes}) than these shards "
        f"({manifest.name}, {manifest.digest[:12]}); make it anew with `dvc repro`"
    )


def _class_difference(theirs: Sequence[str], ours: Sequence[str]) -> str:
    parts = []
    for what, names in (
        ("with the classes", [name for name in theirs if name not in ours]),
        ("without", [name for name in ours if name not in theirs]),
    ):
        if names:
            more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
            parts.append(f"{what} {', '.join(map(repr, names[:_MAX_NAMED]))}{more}")
    return " and ".join(parts) or "with its classes in another order"


def _split(folder: Path, arrays: Mapping[str, npt.NDArray[Any]], name: str) -> Collected:
    kept = open_features(folder / f"{name}.arrow")
    moments = Moments(
        count=int(arrays[f"{name}.count"]),
        mean=arrays[f"{name}.mean"],
        scatter=arrays[f"{name}.scatter"],
    )
    return Collected(
        moments=moments, features=kept.features, logits=kept.logits, labels=kept.labels
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; make it with `dvc repro reference`") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); {_MEND}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged (it holds no object); {_MEND}")
    return content
