"""What the machine does while a run is trained, under the names that MLflow's pages group."""

from typing import Any


class SystemMetrics:
    """Samples processor, memory and, where its library is installed, NVIDIA devices."""

    def __init__(self) -> None:
        import psutil

        self._psutil = psutil
        psutil.cpu_percent()  # the first call only starts the measurement
        self._gpu = _gpu_monitor()

    def sample(self) -> dict[str, float]:
        """Values since the last sample, by name: percent and megabytes."""
        memory = self._psutil.virtual_memory()
        values = {
            "system/cpu_utilization_percentage": float(self._psutil.cpu_percent()),
            "system/system_memory_usage_megabytes": memory.used / 1e6,
            "system/system_memory_usage_percentage": float(memory.percent),
            "system/process_memory_usage_megabytes": self._psutil.Process().memory_info().rss / 1e6,
        }
        if self._gpu is not None:
            self._gpu.collect_metrics()
            values |= {f"system/{k}": float(v) for k, v in self._gpu.aggregate_metrics().items()}
            self._gpu.clear_metrics()
        return values


def _gpu_monitor() -> Any:
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    try:
        return GPUMonitor()
    except (ImportError, RuntimeError):  # no library, no device
        return None
