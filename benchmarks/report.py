"""What every benchmark says beside its figures, and how much memory a part of it took."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).parents[1]
_PROCESSOR, _RESET, _STATUS = (Path("/proc", name) for name in ("cpuinfo", "self/clear_refs", "self/status"))


def publish(benchmark: str, figures: Mapping[str, Any], device: str = "cpu", output: Path | None = None) -> None:
    """Print the figures with the circumstances as one line of JSON, and write the same to the file ``output``."""
    content = {"benchmark": benchmark, **_rounded(figures), "circumstances": circumstances(device)}
    print(json.dumps(content), flush=True)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def circumstances(device: str = "cpu") -> dict[str, Any]:
    """Device, threads, versions, command line and commit of this process."""
    import torch

    return {
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": round(psutil.getloadavg()[0], 1),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "command": shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "commit": _commit(),
    }


def use_device(name: str) -> torch.device:
    """The device of a benchmark, as ``choose_device`` chooses it; of several CUDA devices the one that PyTorch measures
    and waits for from now on."""
    import torch

    from latentsync.runtime.device import choose_device

    device = choose_device(name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _rounded(value: Any) -> Any:
    """Floats to six digits, inside mappings and lists as well."""
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _processor() -> str:
    if _PROCESSOR.exists():
        for line in _PROCESSOR.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Of the working copy, marked if files in it differ from the commit."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


class PeakMemory:
    """The most memory that the process held inside the block, MB; where Linux cannot forget earlier peaks, so far."""

    def __enter__(self) -> PeakMemory:
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            _RESET.write_text("5")  # proc(5): the peak resident size starts anew
        except OSError:
            pass
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def figures(self) -> dict[str, int]:
        """``peak_rss_mb``, and with CUDA ``peak_vram_mb``, what PyTorch reserved on the device."""
        import torch

        found = {"peak_rss_mb": round(peak_rss() / 1e6)}
        if torch.cuda.is_available():
            found["peak_vram_mb"] = round(torch.cuda.max_memory_reserved() / 1e6)
        return found


def peak_rss() -> int:
    """The most memory that this process has held, bytes."""
    if _STATUS.exists():
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM"):
                return 1024 * int(line.split()[1])
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes here
