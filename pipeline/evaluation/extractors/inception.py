"""`inception-v3-compat`: torch-fidelity's Inception, fed only weights that were checked before.

torch-fidelity itself unpickles whatever file it is given. Here the file is read once, hashed and
loaded without executing anything, and torch-fidelity gets the tensors that were found.
"""

import hashlib
import http.client
import io
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from pipeline.errors import UserError
from pipeline.evaluation.extractors.extractor import INCEPTION, Extractor
from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity

DOWNLOAD = "download"
OFFICIAL_SHA256_PREFIX = "6726825d"
"""From the official file's name, weights-inception-2015-12-05-6726825d.pth."""
FEATURE_DIM = 2048
NUM_LOGITS = 1008
_BATCH = 32  # 32 images of 299x299 already fill the cores; more only fill the memory


def open_inception(weights: str, device: str) -> Extractor:
    """The extractor with weights from a file, or `download` for torch-fidelity's own.

    Raises UserError when the file is missing, is no such state dict, or cannot be had.
    """
    fidelity = import_torch_fidelity("feature_extractor_inceptionv3")
    path = _downloaded(fidelity.URL_INCEPTION_V3) if weights == DOWNLOAD else Path(weights)
    content = _read(path)
    sha256 = hashlib.sha256(content).hexdigest()
    official = is_official(sha256)
    if weights == DOWNLOAD and not official:
        raise UserError(
            f"{path} is not what torch-fidelity publishes: its SHA-256 begins with {sha256[:8]}, "
            f"not {OFFICIAL_SHA256_PREFIX}; delete it to download it again"
        )
    checked = io.BytesIO()
    torch.save(_tensors_of(path, content), checked)
    checked.seek(0)
    try:
        network = fidelity.FeatureExtractorInceptionV3(
            INCEPTION, ["2048", "logits_unbiased"], feature_extractor_weights_path=checked
        )
    except RuntimeError as error:
        raise _not_inception(path, str(error)) from None
    network.to(device)

    @torch.inference_mode()
    def extract(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rgb = images.expand(-1, 3, -1, -1)  # grey becomes three equal channels
        parts = [network(part.to(device)) for part in rgb.split(_BATCH)]
        features, logits = (torch.cat(column).float().cpu() for column in zip(*parts, strict=True))
        return features, logits

    return Extractor(
        name=INCEPTION,
        weights_sha256=sha256,
        official=official,
        feature_dim=FEATURE_DIM,
        resize="299x299, bilinear as in TensorFlow 1 (corners not aligned, no antialiasing)",
        extract=extract,
    )


def is_official(weights_sha256: str) -> bool:
    """Whether this is the hash of the weights that published scores are measured with."""
    return weights_sha256.startswith(OFFICIAL_SHA256_PREFIX)


def _downloaded(url: str) -> Path:
    # Where torch-fidelity itself would keep the file, so that it is downloaded once for both.
    path = Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(url)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"downloading the Inception weights (96 MB) to {path}", file=sys.stderr)
        try:
            torch.hub.download_url_to_file(
                url, str(path), OFFICIAL_SHA256_PREFIX, progress=sys.stderr.isatty()
            )
        except (OSError, http.client.HTTPException, RuntimeError) as error:  # RuntimeError: hash
            raise UserError(
                f"the Inception weights cannot be downloaded from {url} "
                f"({' '.join(str(error).split())}); set reference.inception_weights to a file"
            ) from None
    return path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"reference.inception_weights: {path} cannot be read ({error.strerror}); give the path "
            "of torch-fidelity's Inception weights, or `download`"
        ) from None


def _tensors_of(path: Path, content: bytes) -> dict[str, torch.Tensor]:
    try:
        with warnings.catch_warnings():
            # What it may not read, it refuses in the end, and that is what the user is told.
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # malformed bytes fail anywhere in torch's reader, in any way
        raise _not_inception(path, str(error).partition("\n")[0]) from None
    if not isinstance(state, Mapping) or not all(map(torch.is_tensor, state.values())):
        raise _not_inception(path, "it is no dictionary of tensors")
    return dict(state)


def _not_inception(path: Path, reason: str) -> UserError:
    return UserError(
        f"reference.inception_weights: {path} does not hold the weights of torch-fidelity's "
        f"Inception: {' '.join(reason.split())[:300]}"
    )
