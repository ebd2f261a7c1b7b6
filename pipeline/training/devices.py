"""Which device to compute on."""

import torch

from pipeline.errors import UserError


def choose_device(device: str, num_threads: int | None = None) -> str:
    """`auto` takes the GPU where there is one; sets the number of CPU threads where it is given.

    Raises UserError when a GPU is asked for that is not there.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("runtime.device is cuda but this machine has no CUDA GPU; use auto or cpu")
    return device
