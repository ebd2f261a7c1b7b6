"""torch-fidelity's other extractors: VGG16, CLIP and DINOv2, by its own networks.

Their features are the layer that torch-fidelity takes by default; logits they have none.
"""

import hashlib
import http.client
from typing import Any

import torch

from pipeline.config.extractors import BF16, network_of
from pipeline.core.errors import UserError
from pipeline.evaluation.extractors.extractor import Extractor, batched
from pipeline.evaluation.extractors.inception import TENSORFLOW_RESIZE
from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity
from pipeline.evaluation.extractors.weights import (
    DOWNLOAD,
    Published,
    WeightSources,
    as_file,
    find_weights,
    not_weights,
    read_tensors,
)

_VGG16 = Published(
    what="the VGG16 weights",
    size="553 MB",
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
    sha256_prefix="397923af",
    file_name="vgg16-397923af.pth",
)
_BATCH = 16


def open_vgg16(name: str, sources: WeightSources, device: str) -> Extractor:
    """`vgg16` with torchvision's ImageNet weights; raises UserError when they cannot be had."""
    key, what = _key(name), "the weights of torchvision's VGG16"
    file = find_weights(sources.files.get("vgg16", DOWNLOAD), _VGG16, key, sources.cache_dir)
    module = import_torch_fidelity("feature_extractor_vgg16")
    weights = as_file(read_tensors(file.path, key, what))
    try:
        network = module.FeatureExtractorVGG16(
            "vgg16", ["fc2_relu"], feature_extractor_weights_path=weights
        )
    except RuntimeError as error:
        raise not_weights(file.path, key, what, str(error)) from None
    return _extractor(name, network, file.sha256, file.official, device, network.INPUT_IMAGE_SIZE)


def open_clip(name: str, sources: WeightSources, device: str) -> Extractor:
    """CLIP's image tower (`clip-vit-b-32`, ...); raises UserError when it cannot be had.

    OpenAI publishes TorchScript files. torch reads the tensors of one without calling its code.
    """
    network_name, key = network_of(name), _key(name)
    what = f"the weights of CLIP, as OpenAI publishes {network_name}"
    module = import_torch_fidelity("feature_extractor_clip")
    sha256 = module.MODEL_METADATA[network_name]["hash"]
    published = Published(
        what=f"the CLIP weights of {network_name}",
        size="up to 1.3 GB",
        url=module.MODEL_URLS[network_name],
        sha256_prefix=sha256,
        file_name=f"{network_name}-{sha256}.pt",
    )
    file = find_weights(
        sources.files.get(network_name, DOWNLOAD), published, key, sources.cache_dir
    )
    try:
        network = module.FeatureExtractorCLIP(
            network_name, ["clip"], feature_extractor_weights_path=str(file.path)
        )
    except (RuntimeError, KeyError, ValueError) as error:
        raise not_weights(file.path, key, what, str(error).strip()) from None
    return _extractor(name, network, file.sha256, file.official, device, network.resolution)


def open_dinov2(name: str, sources: WeightSources, device: str) -> Extractor:
    """DINOv2 (`dinov2-vit-s-14`, ...) by torch.hub; raises UserError when it cannot be had.

    torch.hub downloads the network's code with its weights, and runs it.
    """
    network_name = network_of(name)
    module = import_torch_fidelity("feature_extractor_dinov2")
    try:
        network = module.FeatureExtractorDinoV2(network_name, ["dinov2"])
    except (OSError, http.client.HTTPException, RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{network_name} cannot be had through torch.hub ({reason}); name a TorchScript file "
            "of it among reference.extractors"
        ) from None
    sha256 = _hash_tensors(network.state_dict())
    return _extractor(name, network, sha256, True, device, network.INPUT_IMAGE_SIZE)


def _extractor(
    name: str, network: Any, sha256: str, official: bool, device: str, size: int
) -> Extractor:
    network.to(device)
    is_bf16 = name.endswith(BF16)

    def run(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=is_bf16):
            (features,) = network(images)
        return features, features.new_zeros(len(features), 0)

    extract = batched(run, _BATCH, device)
    features, _ = extract(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    return Extractor(
        name=name,
        weights_sha256=sha256,
        official=official,
        feature_dim=features.shape[1],
        resize=f"{size}x{size}, {TENSORFLOW_RESIZE}",
        extract=extract,
        precision="bf16" if is_bf16 else "fp32",
        layer=network.get_requested_features_list()[0],
        input_size=size,
    )


def _key(name: str) -> str:
    return f"reference.extractor_weights.{network_of(name)}"


def _hash_tensors(state: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        content = tensor.contiguous().view(-1).view(torch.uint8).numpy()
        digest.update(content.tobytes())
    return digest.hexdigest()
