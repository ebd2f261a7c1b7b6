"""`inception-v3-compat`: torch-fidelity's Inception, fed only weights that were checked before.

torch-fidelity itself unpickles whatever file it is given. Here the file is hashed and loaded
without executing anything, and torch-fidelity gets the tensors that were found.
"""

from pathlib import Path

import torch

from pipeline.config.extractors import BF16
from pipeline.core.errors import UserError
from pipeline.evaluation.extractors.batching import batched
from pipeline.evaluation.extractors.extractor import INCEPTION, Extractor
from pipeline.evaluation.extractors.inception_network import (
    FEATURE_DIM,
    INPUT_SIZE,
    InceptionNetwork,
)
from pipeline.evaluation.extractors.tensorflow_resize import TENSORFLOW_RESIZE
from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity
from pipeline.evaluation.extractors.weight_sources import DEFAULT_CACHE, WeightSources
from pipeline.evaluation.extractors.weights_file import (
    Published,
    as_file,
    find_weights,
    not_weights,
    read_tensors,
)

_KEY = "reference.inception_weights"
_WHAT = "the weights of torch-fidelity's Inception"
_CPU_BATCH = 4  # activations stay in the cache: 1.2 times as fast as 32 at a time
_GPU_BATCH = 64


def open_configured_inception(name: str, sources: WeightSources, device: str) -> Extractor:
    """`open_inception` with the weights that the user named; raises UserError without any."""
    weights = sources.files.get(INCEPTION)
    if weights is None:
        raise UserError(f"{_KEY} is missing; {name} needs a weights file there, or `download`")
    return open_inception(weights, device, name=name, cache_dir=sources.cache_dir)


def open_inception(
    weights: str, device: str, *, name: str = INCEPTION, cache_dir: Path = DEFAULT_CACHE
) -> Extractor:
    """The extractor with weights from a file, `s3://bucket/key`, or torch-fidelity's `download`.

    Raises UserError when the file is missing, is no such state dict, or cannot be had.
    """
    fidelity = import_torch_fidelity("feature_extractor_inceptionv3")
    file = find_weights(weights, published_inception(), _KEY, cache_dir)
    try:
        network = fidelity.FeatureExtractorInceptionV3(
            INCEPTION,
            ["2048", "logits_unbiased"],
            feature_extractor_weights_path=as_file(read_tensors(file.path, _KEY, _WHAT)),
        )
    except RuntimeError as error:
        raise not_weights(file.path, _KEY, _WHAT, str(error)) from None
    is_bf16 = name.endswith(BF16)
    folded = InceptionNetwork(network, torch.bfloat16 if is_bf16 else torch.float32).to(device)
    batch = _CPU_BATCH if torch.device(device).type == "cpu" else _GPU_BATCH
    return Extractor(
        name=name,
        weights_sha256=file.sha256,
        official=file.official,
        feature_dim=FEATURE_DIM,
        resize=f"{INPUT_SIZE}x{INPUT_SIZE}, {TENSORFLOW_RESIZE}",
        extract=batched(folded, batch, device),
        precision="bf16" if is_bf16 else "fp32",
        layer="2048, logits_unbiased",
        input_size=INPUT_SIZE,
    )


def published_inception() -> Published:
    """The weights that published scores are measured with."""
    url = import_torch_fidelity("feature_extractor_inceptionv3").URL_INCEPTION_V3
    return Published(
        what="the Inception weights",
        size="96 MB",
        url=url,
        sha256_prefix="6726825d",  # from its name, weights-inception-2015-12-05-6726825d.pth
        file_name=url.rpartition("/")[2],
    )
