"""The device we report is the device that runs the model."""

import pytest

from contracts.errors import DeviceError
from serving.device import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
    Device,
    DeviceReport,
    check_provider,
    cuda_driver,
    device_report,
    providers,
)

WITHOUT = DeviceReport(cuda_driver=False, cuda_runtime=True, reason="no NVIDIA driver")
WITH = DeviceReport(cuda_driver=True, cuda_runtime=True, reason="")


def test_what_is_asked_for() -> None:
    assert providers(Device.CPU, WITH) == [CPU_PROVIDER]
    assert providers(Device.AUTO, WITHOUT) == [CPU_PROVIDER]
    assert providers(Device.AUTO, WITH)[0] == CUDA_PROVIDER
    assert providers(Device.CUDA, WITH)[0] == CUDA_PROVIDER


def test_cuda_fails_rather_than_degrade() -> None:
    with pytest.raises(DeviceError, match="no NVIDIA driver"):
        providers(Device.CUDA, WITHOUT)
    with pytest.raises(DeviceError, match="CPUExecutionProvider"):
        check_provider(Device.CUDA, [CPU_PROVIDER])


def test_auto_says_what_it_got() -> None:
    assert check_provider(Device.AUTO, [CPU_PROVIDER]) == CPU_PROVIDER
    assert check_provider(Device.AUTO, [CUDA_PROVIDER, CPU_PROVIDER]) == CUDA_PROVIDER


def test_a_machine_without_a_driver_is_never_reported_as_cuda() -> None:
    report = device_report()
    assert report.cuda_driver == (cuda_driver() > 0)
    if not report.cuda_driver:
        assert report.reason
        assert providers(Device.AUTO) == [CPU_PROVIDER]
