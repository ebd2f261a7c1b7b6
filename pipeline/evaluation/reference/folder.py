"""`data/reference/`: reference statistics on disk.

<extractor>/moments.safetensors   of all images of both splits
<extractor>/train.arrow           kept features of the training split
<extractor>/heldout.arrow         the same of the held-out one; missing where that is empty
<extractor>/weights.safetensors   the extractor itself, where it was trained here
<extractor>/pixels.json           within-class standard deviation of the training images' pixels
<extractor>/protocol.json         how all this was computed, with the files' hashes; written last
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

from pipeline.config.extractors import extractor_name
from pipeline.core.errors import UserError
from pipeline.data.shards.feature_file import open_features, write_features
from pipeline.data.shards.manifest import Manifest
from pipeline.evaluation.executor import ParallelExecutor
from pipeline.evaluation.extractors.extractor import Extractor
from pipeline.evaluation.extractors.open_extractor import open_extractor
from pipeline.evaluation.extractors.weights import WeightSources
from pipeline.evaluation.features import FeatureStatistics
from pipeline.evaluation.metrics.moments import Moments
from pipeline.evaluation.reference.statistics import ReferenceProtocol, ReferenceStatistics
from pipeline.storage.atomic import atomic_write, write_json
from pipeline.storage.digest import sha256_file

FORMAT = "sagan-lab/reference/3"
MOMENTS_FILE = "moments.safetensors"
PROTOCOL_FILE = "protocol.json"
PIXELS_FILE = "pixels.json"
_MEND = "make it anew with `dvc repro --force reference`"
_MAX_NAMED = 5


def write_reference(
    folder: Path,
    reference: ReferenceStatistics,
    keys: Mapping[str, Sequence[str]],
    others: tuple[str, ...] = (),
) -> None:
    """Writes one extractor's folder; `others` are files already there that belong to it.

    `keys` are, by split, those of the images whose features are kept.
    """
    (folder / PROTOCOL_FILE).unlink(missing_ok=True)
    splits = {"train": reference.train, "heldout": reference.heldout}
    arrays: dict[str, npt.NDArray[Any]] = {}
    names = [PIXELS_FILE, *others]
    _write_pixels(folder, reference)
    for name, split in splits.items():
        if split is None:
            continue
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
    """Copies the intact folder `source`, the protocol last."""
    (folder / PROTOCOL_FILE).unlink(missing_ok=True)
    for name in (*_read_json(source / PROTOCOL_FILE)["files"], PROTOCOL_FILE):
        with atomic_write(folder / name) as temporary:
            shutil.copyfile(source / name, temporary)


def read_protocol(folder: Path, manifest: Manifest) -> ReferenceProtocol:
    """The protocol of one extractor's intact folder; raises as `read_reference`."""
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


def read_reference(folder: Path, manifest: Manifest) -> ReferenceStatistics:
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
    return ReferenceStatistics(
        protocol=protocol,
        train=train,
        heldout=heldout,
        within_class_std=_read_pixels(folder / PIXELS_FILE),
        class_names=manifest.class_names,
    )


def open_references(
    folder: Path,
    manifest: Manifest,
    specs: Sequence[str],
    sources: WeightSources,
    device: str,
    executor: ParallelExecutor,
) -> tuple[list[Extractor], list[ReferenceStatistics]]:
    """Opens `data/reference`: extractors, and on the main process their reference statistics.

    Raises UserError where they do not fit the data set or each other.
    """
    folders = [folder / extractor_name(spec) for spec in specs]
    is_main = executor.context.is_main
    references = [read_reference(each, manifest) for each in folders] if is_main else []
    size = manifest.resolution
    extractors = [
        open_extractor(spec, each, sources, device, image_size=size)
        for spec, each in zip(specs, folders, strict=True)
    ]
    for reference, extractor in zip(references, extractors, strict=is_main):
        made_with = reference.protocol.weights_sha256
        if extractor.weights_sha256 != made_with:
            raise UserError(
                f"{folder / extractor.name} was made with other weights ({made_with[:12]}) than "
                f"those at hand ({extractor.weights_sha256[:12]}); {_MEND}"
            )
    return extractors, references


def check_same_dataset(
    path: Path, digest: str, manifest: Manifest, class_names: Sequence[str] | None = None
) -> None:
    """Raises UserError when `path` was made of another data set than `manifest`'s.

    `class_names` are the classes that `path` names, if it does.
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


def _split(folder: Path, arrays: Mapping[str, npt.NDArray[Any]], name: str) -> FeatureStatistics:
    kept = open_features(folder / f"{name}.arrow")
    moments = Moments(
        count=int(arrays[f"{name}.count"]),
        mean=arrays[f"{name}.mean"],
        scatter=arrays[f"{name}.scatter"],
    )
    return FeatureStatistics(
        moments=moments, features=kept.features, logits=kept.logits, labels=kept.labels
    )


def _write_pixels(folder: Path, reference: ReferenceStatistics) -> None:
    assert reference.within_class_std is not None
    values = [None if np.isnan(v) else float(v) for v in reference.within_class_std]
    content = {
        "format": FORMAT,
        "dataset_digest": reference.protocol.dataset_digest,
        "num_real": reference.protocol.num_train,
        "within_class_std": values,
    }
    write_json(folder / PIXELS_FILE, content)


def _read_pixels(path: Path) -> npt.NDArray[np.float64]:
    try:
        return np.array(_read_json(path)["within_class_std"], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error!r}); {_MEND}") from None


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
