"""Opens the extractor of a name or file."""

from collections.abc import Callable
from pathlib import Path

from pipeline.config.extractors import (
    CLIP,
    DATASET_CNN,
    DINOV2,
    EFFICIENTNET,
    INCEPTION,
    VGG16,
    check_extractors,
    is_file,
    network_of,
)
from pipeline.core.errors import UserError
from pipeline.evaluation.extractors.dataset_cnn import open_dataset_cnn
from pipeline.evaluation.extractors.efficientnet import open_efficientnet
from pipeline.evaluation.extractors.extractor import Extractor
from pipeline.evaluation.extractors.fidelity import open_clip, open_dinov2, open_vgg16
from pipeline.evaluation.extractors.inception import open_configured_inception
from pipeline.evaluation.extractors.own_network import open_own_network
from pipeline.evaluation.extractors.weights import WeightSources

WEIGHTS_FILE = "weights.safetensors"


def open_extractor(
    extractor: str, folder: Path, sources: WeightSources, device: str, *, image_size: int
) -> Extractor:
    """The extractor of a name or of one's own file, for images of `image_size` pixels' side.

    `folder` is the extractor's own in `data/reference`, for one that was trained there. Raises
    UserError when the weights are missing or are not what they should be.
    """
    try:
        check_extractors([extractor])
    except ValueError as error:
        raise UserError(str(error)) from None
    if extractor == DATASET_CNN:
        return open_dataset_cnn(folder / WEIGHTS_FILE, device)
    if is_file(extractor):
        return open_own_network(extractor, sources, device, image_size)
    return _OPENERS[network_of(extractor)](extractor, sources, device)


_OPENERS: dict[str, Callable[[str, WeightSources, str], Extractor]] = {
    INCEPTION: open_configured_inception,
    EFFICIENTNET: open_efficientnet,
    VGG16: open_vgg16,
    **dict.fromkeys(CLIP, open_clip),
    **dict.fromkeys(DINOV2, open_dinov2),
}
