"""Which device a run computes on, and why torch cannot use a GPU that is there.

A machine has a GPU, and torch says no more than that CUDA is not available: the driver is too old for this build of
torch, or the GPU is, or the build has no CUDA at all. Here the reason is found, and which build of torch would serve.
Importing this module loads no torch.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.errors import DeviceError
from latentsync.runtime.memory import with_memory_freed

if TYPE_CHECKING:
    import torch

NAMES = "auto, cpu, cuda, cuda:1, mps or xpu"
# The oldest driver that a build of torch runs on, by the major version of the CUDA that it is built for (NVIDIA's
# release notes of the CUDA toolkit, "minor version compatibility").
OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
OLDEST_CAPABILITY = (5, 0)  # of the GPUs that any torch since 2.4 has kernels for
# Builds for CUDA 12.6 have kernels for 5.0 to 9.0, those for CUDA 13 from 7.5 on; torch 2.15 has no build for 12.6.
LEGACY_BUILD = "the build 'cu126' of torch (for CUDA 12.6, up to torch 2.14; pytorch.org says how)"
ON_PURPOSE = "To compute on the CPU on purpose, set CUDA_VISIBLE_DEVICES to nothing."
ON_THE_CPU = "compute on the CPU (--device cpu; of a training: CUDA_VISIBLE_DEVICES set to nothing)"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that torch sees. ``capability``: NVIDIA's compute capability."""

    name: str
    capability: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides whether torch can use the NVIDIA GPUs of a machine.

    ``cuda``: the version that torch is built for, None without. ``architectures``: what it has kernels for, such as
    'sm_75' and 'compute_120'. ``gpus``: those that torch sees; ``present``: whether the system knows of any.
    ``driver``: its version, None if none is loaded. ``handed_over``: whether the GPU's device files are there, which a
    container may lack. ``reason``: why torch sees none, in its own words. ``hidden``: the user has hidden them.
    """

    torch: str
    cuda: str | None
    architectures: tuple[str, ...]
    gpus: tuple[Gpu, ...] = ()
    present: bool = False
    driver: str | None = None
    handed_over: bool = True
    reason: str = ""
    hidden: bool = False


def choose_device(name: str = "auto", required_gpu: bool = False) -> torch.device:
    """'auto' is CUDA (also ROCm), then MPS, then XPU, then the CPU; any other name is a torch device string.

    A CUDA device has computed something before it is returned. Where a GPU is there that torch cannot use, 'auto' is
    the CPU, and ``unusable_gpu`` says why; with ``required_gpu``, as for a training that would take months on a CPU,
    it is a ``DeviceError`` instead (a machine without a GPU is none). Raises ``DeviceError`` for any other device that
    there is not or that cannot be used, and ``OutOfMemoryError``.
    """
    import torch

    if name == "auto":
        fault = unusable_gpu()
        if fault is not None and required_gpu:
            raise fault
        kinds = ("cuda", "mps", "xpu") if fault is None else ("mps", "xpu")
        return torch.device(next((kind for kind in kinds if _is_available(kind)), "cpu"))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"'{name}' is no device.", remedy=f"Use {NAMES}.") from error
    if device.type == "cuda" and (fault := unusable_gpu(device.index or 0)) is not None:
        raise fault
    if not _is_available(device.type):
        raise DeviceError(
            f"The device '{name}' is not available to this build of torch {torch.__version__}.",
            remedy="Use --device auto, or install the torch build for your hardware.",
        )
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= count:
        raise DeviceError(f"There is no '{name}': {count} such device(s) found.", remedy="Count from 0.")
    return device


def cpu_has_bf16() -> bool:
    """Whether this processor multiplies in bfloat16 (AVX512-BF16 or AMX): elsewhere float32 is quicker."""
    import torch

    ask = getattr(torch.cpu, "get_capabilities", dict)  # older releases of torch do not say
    capabilities: Mapping[str, object] = ask()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def choose_devices(names: str = "auto") -> tuple[torch.device, ...]:
    """The devices of a list with commas, such as 'cuda:0,cuda:1': each as ``choose_device`` chooses and refuses it."""
    return tuple(choose_device(name.strip()) for name in names.split(","))


def unusable_gpu(index: int = 0) -> DeviceError | None:
    """Why torch cannot use GPU number ``index`` that is there, with what would serve it; None if it can, or if there is
    none. Not raised: whoever asks decides whether that is an error or a note. Raises ``OutOfMemoryError``."""
    return fault_of(read_machine(), index, _compute_something)


def fault_of(machine: Machine, index: int, compute: Callable[[int], None]) -> DeviceError | None:
    """See ``unusable_gpu``. ``compute(index)`` runs a kernel on a GPU that seems to be usable."""
    if index < len(machine.gpus):
        return _fault_of_gpu(machine, index, compute)
    if machine.gpus or machine.hidden or not machine.present:
        return None
    build = f"this torch {machine.torch}" + (f", built for CUDA {machine.cuda}," if machine.cuda else "")
    if machine.driver is None:
        return DeviceError(
            "This machine has an NVIDIA GPU, but its driver is not loaded.",
            remedy=f"Install NVIDIA's driver{_driver_for(machine.cuda)}; `nvidia-smi` shows the GPU then. {ON_PURPOSE}",
        )
    oldest = None if machine.cuda is None else OLDEST_DRIVER.get(_major(machine.cuda))
    served = max((cuda for cuda, driver in OLDEST_DRIVER.items() if _major(machine.driver) >= driver), default=11)
    other_build = f"a torch that is built for CUDA {served} (pytorch.org says how)"
    if machine.cuda is None:
        return DeviceError(
            f"This machine has an NVIDIA GPU, but {build} has no CUDA.", remedy=f"Install {other_build}. {ON_PURPOSE}"
        )
    if oldest is not None and _major(machine.driver) < oldest:
        return DeviceError(
            f"The NVIDIA driver {machine.driver} of this machine is too old for {build} which needs {oldest} or newer.",
            remedy=f"Update the driver, or install {other_build}. {ON_PURPOSE}",
        )
    if not machine.handed_over:
        return DeviceError(
            "The NVIDIA GPU of this machine has not been handed over to this container.",
            remedy=f"Start it with the GPU (docker run --gpus all). {ON_PURPOSE}",
        )
    return DeviceError(
        f"This machine has an NVIDIA GPU, but {build} does not see it: {machine.reason or 'it says no more'}.",
        remedy=f"`nvidia-smi` may say more. {ON_PURPOSE}",
    )


def _fault_of_gpu(machine: Machine, index: int, compute: Callable[[int], None]) -> DeviceError | None:
    gpu = machine.gpus[index]
    if machine.cuda is not None and not has_kernels(machine.architectures, gpu.capability):
        major, minor = gpu.capability
        if gpu.capability < OLDEST_CAPABILITY:
            remedy = f"No torch that this program runs on serves it: use another GPU, or {ON_THE_CPU}."
        elif gpu.capability < (7, 5):
            remedy = f"Install {LEGACY_BUILD}, or {ON_THE_CPU}."
        else:
            known = ", ".join(machine.architectures)
            remedy = f"Install a newer torch, or {ON_THE_CPU}; this one has kernels for {known}."
        return DeviceError(
            f"{gpu.name} has compute capability {major}.{minor}, for which this torch {machine.torch}, built for CUDA "
            f"{machine.cuda}, has no kernels.",
            remedy=remedy,
        )
    try:
        with_memory_freed(lambda: compute(index), f"a first computation on {gpu.name}")
    except RuntimeError as error:
        return DeviceError(
            f"{gpu.name} does not compute: {str(error).partition(chr(10))[0]}",
            remedy=f"Restart the machine or its driver, install another build of torch, or {ON_THE_CPU}.",
        )
    return None


def has_kernels(architectures: tuple[str, ...], capability: tuple[int, int]) -> bool:
    """Whether code for one of ``architectures`` runs on a GPU: 'sm_86' on those of 8.6 and later ones of 8,
    'compute_86' on all later ones. True if a build says nothing of its architectures."""
    known = [re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", each) for each in architectures]
    codes = [(each[1], (int(each[2]), int(each[3]))) for each in known if each is not None]
    return not codes or any(
        code <= capability and (kind == "compute" or code[0] == capability[0]) for kind, code in codes
    )


def read_machine(root: Path = Path("/")) -> Machine:
    """The machine that this process runs on. ``root``: of its files."""
    import torch

    cuda = torch.version.cuda
    if torch.cuda.is_available():
        found = (torch.cuda.get_device_properties(k) for k in range(torch.cuda.device_count()))
        gpus = tuple(Gpu(each.name, (each.major, each.minor)) for each in found)
        return Machine(torch.__version__, cuda, tuple(torch.cuda.get_arch_list()), gpus)
    driver, present = _nvidia_driver(root), _has_nvidia_gpu(root)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return Machine(
        torch.__version__,
        cuda,
        (),
        present=present,
        driver=driver,
        handed_over=any((root / "dev" / name).exists() for name in ("nvidiactl", "dxg")) or os.name == "nt",
        reason=_words_of_torch(),
        hidden=visible is not None and visible.strip() in ("", "-1"),
    )


def _has_nvidia_gpu(root: Path) -> bool:
    """By the driver's own list, by the PCI bus (NVIDIA's number 0x10de, class 3: displays), or by nvidia-smi."""
    if any((root / "proc/driver/nvidia/gpus").glob("*")):
        return True
    for device in (root / "sys/bus/pci/devices").glob("*"):
        try:
            vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
        except OSError:
            continue
        if vendor == "0x10de" and kind.startswith("0x03"):
            return True
    return bool(_nvidia_smi())


def _nvidia_driver(root: Path) -> str | None:
    try:
        text = (root / "proc/driver/nvidia/version").read_text()
    except OSError:  # Windows, or Linux in it
        return _nvidia_smi() or None
    found = re.search(r"\b(\d{3}\.\d+(?:\.\d+)?)\b", text)
    return found[1] if found else None


def _nvidia_smi() -> str:
    """The driver's version as nvidia-smi says it; empty if it says nothing."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.match(r"\s*(\d{3}\.[\d.]+)", done.stdout)
    return found[1] if found else ""


def _words_of_torch() -> str:
    import torch

    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # the latter from a build without CUDA
        return str(error).partition("\n")[0].rstrip(".")
    return ""


def _compute_something(index: int) -> None:
    import torch

    torch.ones(8, device=f"cuda:{index}").mul(2).sum().item()


def _is_available(kind: str) -> bool:
    import torch

    if kind == "cpu":
        return True
    backend = getattr(torch, kind, None) if kind != "mps" else torch.backends.mps
    return backend is not None and backend.is_available()


def _driver_for(cuda: str | None) -> str:
    oldest = None if cuda is None else OLDEST_DRIVER.get(_major(cuda))
    return "" if oldest is None else f", {oldest} or newer"


def _major(version: str) -> int:
    return int(version.partition(".")[0])
