"""The device to compute on."""

import torch

from pipeline.core.errors import UserError


def choose_device(device: str, num_threads: int | None = None, local_rank: int = 0) -> str:
    """The torch device for `cpu`, `cuda` or `auto`; sets the number of CPU threads if given.

    `auto` is a GPU where there is one. Each process of a machine takes the GPU of its `local_rank`.
    Raises UserError when there is no such GPU.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    num_gpus = torch.cuda.device_count()
    if device == "cpu" or (device == "auto" and num_gpus == 0):
        return "cpu"
    if num_gpus == 0:
        raise UserError("runtime.device is cuda but this machine has no CUDA GPU; use auto or cpu")
    if local_rank >= num_gpus:
        raise UserError(
            f"process {local_rank} of this machine needs a GPU of its own, and there are "
            f"{num_gpus}; set runtime.num_workers to at most that, or runtime.device: cpu"
        )
    torch.cuda.set_device(local_rank)
    return f"cuda:{local_rank}"


def count_devices(device: str) -> int:
    """The number of GPUs of this machine, or 1 for the CPU: how many processes to start."""
    return 1 if device == "cpu" else max(1, torch.cuda.device_count())
