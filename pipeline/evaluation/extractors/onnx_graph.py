"""ONNX files as functions of images, by ONNX Runtime."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.core.errors import UserError

_TYPES = {"tensor(uint8)": torch.uint8, "tensor(float)": torch.float32}


def open_onnx_graph(path: Path, device: str) -> tuple[Callable[[torch.Tensor], Any], str]:
    """The graph in a file, and what runs it, for the protocol.

    Raises UserError for what is no graph, and without ONNX Runtime.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            f"reference.extractors: {path} needs ONNX Runtime; install it with "
            "`pip install -e '.[onnx]'`"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # images go in parallel
    options.log_severity_level = 3
    wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
    there = onnxruntime.get_available_providers()
    providers = [name for name in wanted if name in there] + ["CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # ONNX Runtime's errors have no base but this
        reason = " ".join(str(error).split())
        raise UserError(
            f"reference.extractors: {path} is no graph that ONNX Runtime can load ({reason[:200]})"
        ) from None
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in _TYPES or len(inputs[0].shape) != 4:
        given = ", ".join(f"{each.name}: {each.type} {each.shape}" for each in inputs)
        raise UserError(
            f"reference.extractors: {path} must have one input, uint8 or float32 (B, 3, H, W), not "
            f"{given or 'none'}"
        )
    name, dtype = inputs[0].name, _TYPES[inputs[0].type]
    if isinstance(inputs[0].shape[0], int):
        raise UserError(
            f"reference.extractors: {path} takes batches of {inputs[0].shape[0]} alone; export it "
            "with a dynamic first axis"
        )

    def run(images: torch.Tensor) -> list[torch.Tensor]:
        outputs = session.run(None, {name: images.to(dtype).cpu().numpy()})
        return [torch.from_numpy(output) for output in outputs]

    return run, f"ONNX Runtime {onnxruntime.__version__}, {session.get_providers()[0]}"
