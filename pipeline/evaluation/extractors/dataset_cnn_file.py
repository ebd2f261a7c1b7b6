"""The weights of `dataset-cnn` as a self-describing safetensors file."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pipeline.core.errors import UserError
from pipeline.evaluation.extractors.dataset_cnn import DatasetCnn, DatasetCnnConfig
from pipeline.storage.atomic import atomic_write

FORMAT = "sagan-lab/dataset-cnn/1"


def write_dataset_cnn(path: Path, network: DatasetCnn, facts: Mapping[str, Any]) -> None:
    """Writes weights and description; equal arguments give equal bytes. `facts` are JSON values."""
    description = {"format": FORMAT, "config": asdict(network.config), **facts}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    with atomic_write(path) as temporary:
        # One entry: safetensors writes several in an order that changes from process to process.
        save_file(tensors, temporary, {"description": json.dumps(description, sort_keys=True)})


def read_dataset_cnn(path: Path, device: str) -> tuple[DatasetCnn, dict[str, Any]]:
    """The network in evaluation mode and its facts; raises UserError for a file that is not one."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; `dvc repro reference` trains it")
    try:
        with safe_open(path, framework="pt") as file:
            description = json.loads((file.metadata() or {}).get("description", "{}"))
            if description.pop("format", None) != FORMAT:
                raise UserError(f"{path} is not a classifier of format {FORMAT}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        network = DatasetCnn(DatasetCnnConfig(**description.pop("config")))
        network.load_state_dict(tensors)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} is damaged ({reason}); train it anew with `dvc repro --force reference`"
        ) from None
    network.to(device).requires_grad_(False).eval()
    return network, description
