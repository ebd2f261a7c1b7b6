"""One's own extractor: a TorchScript or ONNX file.

The contract is that of torch-fidelity's extractors: the network takes RGB images, uint8
(B, 3, H, W) in 0..255 and of the size that the data has, resizes and normalises by itself, and
gives features (B, d), or a pair of features and logits (B, k). B must be free; an ONNX graph whose
input is float32 gets the same values as floats.

A TorchScript file holds code, which runs: whose file it is, is the user's own choice.
"""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.config.extractors import extractor_name
from pipeline.core.errors import UserError
from pipeline.evaluation.extractors.extractor import Extractor, batched
from pipeline.evaluation.extractors.weights import WeightSources, fetch_from_s3, hash_weights

_KEY = "reference.extractors"
_CURE = "correct the path"
_BATCH = 32
_TYPES = {"tensor(uint8)": torch.uint8, "tensor(float)": torch.float32}


def open_own_network(
    extractor: str, sources: WeightSources, device: str, image_size: int
) -> Extractor:
    """The extractor in a file, here or in S3, tried on two images of `image_size` pixels' side.

    Raises UserError when it cannot be read, does not run on such images or gives anything else.
    """
    is_remote = extractor.startswith("s3://")
    path = fetch_from_s3(extractor, _KEY, sources.cache_dir) if is_remote else Path(extractor)
    sha256 = _hash(path)
    is_onnx = extractor.lower().endswith(".onnx")
    if is_onnx:
        run, runner = open_onnx_graph(path, device)
    else:
        run, runner = open_torchscript(path, device), "TorchScript"

    def network(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return _checked(extractor, images, run)

    extract = batched(network, _BATCH, device)
    features, _ = extract(torch.zeros(2, 3, image_size, image_size, dtype=torch.uint8))
    return Extractor(
        name=extractor_name(extractor),
        weights_sha256=sha256,
        official=False,
        feature_dim=features.shape[1],
        resize="by the network itself",
        extract=extract,
        precision=f"the file's own, {runner}",
    )


def _hash(path: Path) -> str:
    sha256 = hash_weights(path, _KEY, _CURE)
    weights = path.with_name(path.name + ".data")  # where exporters put those of an ONNX graph
    if path.suffix.lower() == ".onnx" and weights.exists():
        both = f"{sha256} {hash_weights(weights, _KEY, _CURE)}"
        return hashlib.sha256(both.encode()).hexdigest()
    return sha256


def _checked(
    extractor: str, images: torch.Tensor, run: Callable[[torch.Tensor], Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    shape = "x".join(map(str, images.shape))
    try:
        out = run(images)
    except Exception as error:  # the network's own code, or ONNX Runtime: it may fail in any way
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(
            f"{_KEY}: {extractor} fails on uint8 images {shape}: {lines[-1][:300] if lines else ''}"
        ) from None
    parts = list(out) if isinstance(out, tuple | list) else [out]
    if len(parts) == 1:
        parts.append(images.new_zeros(len(images), 0, dtype=torch.float32))
    if len(parts) != 2 or not all(_is_table(part, len(images)) for part in parts):
        raise UserError(
            f"{_KEY}: {extractor} must give features (B, d), or those and logits (B, k), as floats "
            f"for uint8 images (B, 3, H, W); for {shape} it gives {_describe(out)}"
        )
    features, logits = parts
    return features, logits


def _is_table(part: object, rows: int) -> bool:
    return (
        torch.is_tensor(part) and part.is_floating_point() and part.ndim == 2 and len(part) == rows
    )


def _describe(out: object) -> str:
    if torch.is_tensor(out):
        return f"{str(out.dtype).removeprefix('torch.')} {'x'.join(map(str, out.shape))}"
    if isinstance(out, tuple | list):
        return f"{len(out)} values: " + ", ".join(map(_describe, out))
    return type(out).__name__


def open_torchscript(path: Path, device: str) -> Callable[[torch.Tensor], Any]:
    """The module in a file, in evaluation mode; raises UserError for what is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as a whole
            module = torch.jit.load(str(path), map_location=device)
    except Exception as error:  # malformed bytes fail anywhere in torch's reader, in any way
        reason = " ".join(str(error).partition("\n")[0].split())
        raise UserError(
            f"reference.extractors: {path} is no TorchScript file ({reason[:200]}); write one with "
            "torch.jit.script(network).save(...), or name an .onnx file"
        ) from None
    module.eval()

    def run(images: torch.Tensor) -> Any:
        # Unoptimised, the first calls and the later ones give the same bits.
        with torch.jit.optimized_execution(False):
            return module(images)

    return run


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
