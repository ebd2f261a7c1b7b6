"""Runs a stage's work in as many processes as the configuration asks for."""

import os
from collections.abc import Sequence

from pipeline.config.params import Params
from pipeline.config.schema import RuntimeSection
from pipeline.core.errors import UserError
from pipeline.distributed.devices import choose_device, count_devices
from pipeline.distributed.group import is_described, process_group
from pipeline.distributed.torchrun import record_outcome, run_in_torchrun
from pipeline.distributed.work import Paths, Work


def launch(
    work: Work[Paths], params: Params, paths: Paths, module: str, argv: Sequence[str]
) -> None:
    """Runs `work` in this process, or starts `python -m module argv` in several.

    Raises UserError and Preempted as `work` does.
    """
    if is_described():  # a worker, of this launcher or of another
        with record_outcome(int(os.environ["RANK"])):
            _run_here(work, params, paths)
        return
    runtime = params.runtime
    launcher, num_workers = _choose(runtime)
    if launcher == "inprocess":
        _run_here(work, params, paths)
    elif launcher == "torchrun":
        choose_device(runtime.device, local_rank=num_workers - 1)  # raises if there are fewer
        num_threads = runtime.num_threads or max(1, (os.cpu_count() or 1) // num_workers)
        run_in_torchrun(module, argv, num_workers, runtime.max_failures, num_threads)
    else:
        # Imported here because it takes seconds.
        from pipeline.distributed.ray.job import run_in_ray

        run_in_ray(work, params, paths, num_workers)


def _run_here(work: Work[Paths], params: Params, paths: Paths) -> None:
    runtime = params.runtime
    local_rank = int(os.environ.get("LOCAL_RANK", 0)) if is_described() else 0
    device = choose_device(runtime.device, runtime.num_threads, local_rank)
    with process_group(device, runtime.join_timeout_s, runtime.peer_timeout_s) as context:
        work(params, paths, device, context, None)


def _choose(runtime: RuntimeSection) -> tuple[str, int]:
    num_workers = runtime.num_workers or count_devices(runtime.device)
    if runtime.launcher == "auto":
        if "RAY_ADDRESS" in os.environ:
            return "ray", num_workers
        return ("inprocess" if num_workers == 1 else "torchrun"), num_workers
    if runtime.launcher == "inprocess" and runtime.num_workers not in (None, 1):
        raise UserError(
            f"runtime.launcher = 'inprocess' is one process, not runtime.num_workers = "
            f"{runtime.num_workers}; choose torchrun or ray"
        )
    return runtime.launcher, 1 if runtime.launcher == "inprocess" else num_workers
