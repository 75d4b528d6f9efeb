"""Which device a model really runs on.

onnxruntime-gpu lists `CUDAExecutionProvider` on machines that have no GPU, and a session asked for
it there prints a line and runs on the CPU. So we look for the driver first, ask second, and compare
what we got with what we asked for: nothing here ever reports a device that does not run the model.
"""

import ctypes
from collections.abc import Sequence
from enum import StrEnum

import msgspec
import onnxruntime as ort

from contracts.errors import DeviceError

__all__ = [
    "CUDA_PROVIDER",
    "Device",
    "DeviceReport",
    "check_provider",
    "cuda_driver",
    "device_report",
    "providers",
]

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"


class Device(StrEnum):
    """What a user may ask for: `auto` takes CUDA if it works; `cuda` fails rather than degrade."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class DeviceReport(msgspec.Struct, frozen=True):
    """What this machine offers.

    Attributes:
        cuda_driver: libcuda is there and sees at least one device.
        cuda_runtime: this build of ONNX Runtime knows CUDA.
        reason: why CUDA is not used, for people; '' where it is.
    """

    cuda_driver: bool
    cuda_runtime: bool
    reason: str


def cuda_driver() -> int:
    """How many CUDA devices the driver sees; 0 without a driver."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    # 0 is CUDA_SUCCESS in the CUDA driver API.
    if library.cuInit(0) != 0 or library.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def device_report() -> DeviceReport:
    """Look at this machine; loads no model."""
    driver = cuda_driver() > 0
    runtime = CUDA_PROVIDER in ort.get_available_providers()
    if not driver:
        reason = "no NVIDIA driver with a device (libcuda) was found"
    elif not runtime:
        reason = "this ONNX Runtime has no CUDA; install onnxruntime-gpu instead of onnxruntime"
    else:
        reason = ""
    return DeviceReport(driver, runtime, reason)


def providers(device: Device, report: DeviceReport | None = None) -> list[str]:
    """The ONNX Runtime providers to ask for.

    Raises:
        DeviceError: CUDA was asked for and is not here.
    """
    if device is Device.CPU:
        return [CPU_PROVIDER]
    report = report or device_report()
    if not report.reason:
        return [CUDA_PROVIDER, CPU_PROVIDER]
    if device is Device.CUDA:
        raise DeviceError(
            f"device 'cuda' was asked for, but {report.reason};"
            " set FABPILOT_DEVICE=cpu, or auto to use CUDA where it works"
        )
    return [CPU_PROVIDER]


def check_provider(device: Device, active: Sequence[str]) -> str:
    """The provider that really runs the model, from what a new session says of itself.

    Raises:
        DeviceError: CUDA was asked for and the session silently fell back.
    """
    provider = active[0] if active else CPU_PROVIDER
    if device is Device.CUDA and provider != CUDA_PROVIDER:
        raise DeviceError(
            f"device 'cuda' was asked for, but ONNX Runtime runs the model on {provider};"
            " its own log says why (often a CUDA or cuDNN library that is missing)"
        )
    return provider
