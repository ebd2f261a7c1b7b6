"""Which device to compute on."""

import torch

from pipeline.core.errors import UserError


def choose_device(device: str, num_threads: int | None = None, local_rank: int = 0) -> str:
    """`auto` takes a GPU where there is one; sets the number of CPU threads where it is given.

    `local_rank` is the process's place among those of this machine, each of which takes a GPU of
    its own. Raises UserError when a GPU is asked for that is not there.
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
    """How many processes this machine has devices for: its GPUs, or one on the CPU."""
    return 1 if device == "cpu" else max(1, torch.cuda.device_count())
