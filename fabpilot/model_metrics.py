"""What a processor shows of its model: apart, for only who runs one has ONNX Runtime."""

import time
from typing import Any

from prometheus_client import Gauge

from fabpilot.monitor import Monitor
from serving.device import CUDA_PROVIDER, Device, device_report
from serving.repository import ModelRepository

__all__ = ["ModelMetrics"]


class ModelMetrics:
    """Which model serves, on what, and whether the registry is followed.

    Args:
        monitor: shows it.
        repository: with a model loaded.
        device: what was asked for.
    """

    def __init__(self, monitor: Monitor, repository: ModelRepository[Any], device: Device) -> None:
        registry = monitor.registry
        self._repository = repository
        # With a driver here, a model that runs on the CPU all the same runs on the wrong one.
        self._wants_cuda = device is Device.CUDA or (
            device is Device.AUTO and device_report().cuda_driver
        )
        self._info = Gauge(
            "fabpilot_model_info",
            "1 for the model that serves and the provider that really runs it.",
            ("name", "version", "sha256", "provider"),
            registry=registry,
        )
        self._cuda = Gauge(
            "fabpilot_device_cuda", "1 if the model really runs on CUDA.", registry=registry
        )
        self._degraded = Gauge(
            "fabpilot_device_degraded",
            "1 if a GPU is here or was asked for and the model runs on the CPU.",
            registry=registry,
        )
        self._refused = Gauge(
            "fabpilot_model_refused",
            "1 if the registry names a model that was refused, or does not answer.",
            registry=registry,
        )
        self._checked = Gauge(
            "fabpilot_model_check_age_seconds",
            "How long ago the registry was last asked which model shall serve, with success.",
            registry=registry,
        )
        self._good_ms = 0
        self._began_ms = time.time() * 1000
        monitor.look(self.look)

    def look(self) -> None:
        """Take in what the repository says."""
        loaded, status = self._repository.current(), self._repository.status
        provider = loaded.session.provider
        self._info.clear()
        self._info.labels(loaded.ref.name, loaded.ref.version, loaded.session.sha256, provider).set(
            1
        )
        on_cuda = provider == CUDA_PROVIDER
        self._cuda.set(on_cuda)
        self._degraded.set(self._wants_cuda and not on_cuda)
        self._refused.set(bool(status.error))
        if not status.error:
            self._good_ms = status.checked_ms
        self._checked.set((time.time() * 1000 - (self._good_ms or self._began_ms)) / 1000)
