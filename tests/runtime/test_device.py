"""Devices that are there, are not, or are there and cannot be used: each its sentence or its run."""

from __future__ import annotations

import pytest
import torch

from latentsync.errors import DeviceError, OutOfMemoryError
from latentsync.runtime import device
from latentsync.runtime.device import Gpu, Machine, choose_device, fault_of, has_kernels, read_machine

CUDA_13 = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")


def with_gpu(name, *capability):
    return Machine("2.14.1+cu130", "13.0", CUDA_13, (Gpu(name, capability),), present=True, driver="580.95.05")


def without_sight(**facts):
    return Machine("2.14.1+cu130", "13.0", (), present=True, reason="no words", **facts)


# What a machine is, what is said, and what is advised; None: it runs.
MACHINES = {
    "6.1": (with_gpu("GeForce GTX 1080", 6, 1), "GTX 1080 has compute capability 6.1.* has no kernels", "cu126"),
    "7.0": (with_gpu("Tesla V100", 7, 0), "V100 has compute capability 7.0.* has no kernels", "cu126"),
    "7.5": (with_gpu("Tesla T4", 7, 5), None, None),
    "9.0": (with_gpu("H200", 9, 0), None, None),
    "old driver": (
        without_sight(driver="535.104.05"),
        "535.104.05 .* too old .* CUDA 13.0, which needs 580",
        "CUDA 12 ",
    ),
    "no driver": (without_sight(), "its driver is not loaded", "Install NVIDIA's driver, 580 or newer"),
    "very old": (with_gpu("Tesla K80", 3, 7), "K80 has compute capability 3.7", "No torch that this program runs on"),
    "newer": (with_gpu("Next", 15, 0), "Next has compute capability 15.0", "newer torch"),
    "container": (without_sight(driver="580.95.05", handed_over=False), "handed over to this container", "--gpus all"),
    "unknown": (without_sight(driver="580.95.05"), "does not see it: no words", "nvidia-smi"),
    "no CUDA": (Machine("2.14.1+cpu", None, (), present=True, driver="550.54.14"), "has no CUDA", "CUDA 12 "),
    "hidden": (without_sight(hidden=True), None, None),
    "no GPU": (Machine("2.14.1+cu130", "13.0", ()), None, None),
}


@pytest.mark.parametrize("name", MACHINES)
def test_each_machine_has_its_sentence_or_its_run(monkeypatch, name):
    machine, sentence, advice = MACHINES[name]
    computed = []
    monkeypatch.setattr(device, "read_machine", lambda: machine)
    monkeypatch.setattr(device, "_compute_something", computed.append)
    monkeypatch.setattr(device, "_is_available", lambda kind: kind == "cpu" or (kind == "cuda" and bool(machine.gpus)))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(machine.gpus))
    if sentence is None:
        expected = "cuda" if machine.gpus else "cpu"
        assert choose_device().type == choose_device(required_gpu=True).type == expected
        assert bool(computed) == bool(machine.gpus)  # one kernel has run
        return
    assert choose_device().type == "cpu" and not computed
    for ask in (lambda: choose_device(required_gpu=True), lambda: choose_device("cuda")):
        with pytest.raises(DeviceError, match=sentence) as caught:
            ask()
        assert advice in caught.value.remedy


def test_the_second_gpu_may_be_another():
    machine = with_gpu("H200", 9, 0)
    machine = Machine(machine.torch, machine.cuda, CUDA_13, (*machine.gpus, Gpu("GeForce GTX 1080", (6, 1))))
    assert fault_of(machine, 0, lambda index: None) is None
    assert "GTX 1080" in fault_of(machine, 1, lambda index: None).message


def failing(error):
    def compute(index):
        raise error

    return compute


def test_a_gpu_that_does_not_compute_is_named_and_a_full_one_is_full():
    machine = with_gpu("H200", 9, 0)
    fault = fault_of(machine, 0, failing(RuntimeError("CUDA error: uncorrectable ECC error encountered\nCUDA kernel")))
    assert "H200 does not compute: CUDA error: uncorrectable ECC error" in fault.message
    with pytest.raises(OutOfMemoryError, match="computation on H200"):
        fault_of(machine, 0, failing(torch.OutOfMemoryError("CUDA out of memory.")))


@pytest.mark.parametrize(
    ("architectures", "capability", "expected"),
    [
        (("sm_80", "sm_86"), (8, 9), True),  # code for 8.6 runs on 8.9
        (("sm_89",), (8, 6), False),
        (("sm_75", "sm_120"), (10, 0), False),
        (("sm_75", "compute_90"), (10, 0), True),  # compiled for it by the driver
        (("sm_90a",), (9, 0), True),
        (("gfx90a",), (9, 0), True),  # AMD's names say nothing of this kind
        ((), (5, 0), True),
    ],
)
def test_code_for_one_gpu_runs_on_some_others(architectures, capability, expected):
    assert has_kernels(architectures, capability) == expected


def machine_files(root, driver=None, gpu_by_driver=False, pci=(), device_files=()):
    if driver:
        (root / "proc/driver/nvidia").mkdir(parents=True)
        (root / "proc/driver/nvidia/version").write_text(
            f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {driver}  Release Build  (dvs-builder@U22)\n"
            "GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n"
        )
    if gpu_by_driver:
        (root / "proc/driver/nvidia/gpus/0000:01:00.0").mkdir(parents=True)
    for number, (vendor, kind) in enumerate(pci):
        place = root / f"sys/bus/pci/devices/0000:0{number}:00.0"
        place.mkdir(parents=True)
        (place / "vendor").write_text(vendor + "\n")
        (place / "class").write_text(kind + "\n")
    (root / "dev").mkdir()
    for name in device_files:
        (root / "dev" / name).touch()


@pytest.mark.parametrize(
    ("files", "present", "driver", "handed_over"),
    [
        ({"driver": "535.104.05", "gpu_by_driver": True, "device_files": ["nvidiactl"]}, True, "535.104.05", True),
        ({"driver": "580.95", "gpu_by_driver": True}, True, "580.95", False),
        ({"pci": [("0x8086", "0x030000"), ("0x10de", "0x030200")]}, True, None, False),
        ({"pci": [("0x10de", "0x040300")]}, False, None, False),  # the audio part of a card
        ({}, False, None, False),
    ],
)
def test_a_gpu_is_found_without_torch(tmp_path, monkeypatch, files, present, driver, handed_over):
    machine_files(tmp_path, **files)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device.shutil, "which", lambda name: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    found = read_machine(tmp_path)
    assert (found.present, found.driver, found.handed_over, found.hidden) == (present, driver, handed_over, False)
    assert found.torch == torch.__version__ and found.gpus == ()


def test_nvidia_smi_is_asked_where_there_are_no_such_files(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 551.86\n")
    program.chmod(0o755)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device.shutil, "which", lambda name: str(program))
    for visible, hidden in ((None, False), ("", True), ("-1", True), ("0", False)):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        found = read_machine(tmp_path)
        assert (found.present, found.driver, found.hidden) == (True, "551.86", hidden)


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "gpu!"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(DeviceError, match=name):
        choose_device(name)
