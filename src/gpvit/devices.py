"""Where to compute, with what compiler, what memory it took, and what machine it was."""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gpvit.errors import UserError
from gpvit.version import __version__


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """Return the device asked for, or else the accelerator of this machine, or else the CPU."""
    if device is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch built without a device's support asserts
        reason = str(error).splitlines()[0]
        raise UserError(f"device {str(device)!r} cannot be used here: {reason}; choose 'cpu'") from error


def place(model: Any, device: str | torch.device | None = None) -> Any:
    """Move a model to the device asked for, or else to this machine's accelerator, if it can leave the CPU at all."""
    if device is None and getattr(model, "stays_on_cpu", False):
        return model
    return model.to(choose_device(device))


def peak_memory(device: torch.device) -> int | None:
    """Return the most bytes so far that torch had allocated on a GPU, or that were resident, if the system tells."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return status_bytes("VmHWM") if sys.platform == "linux" else None


def status_bytes(field: str) -> int:
    """Read how much memory this process has, ``VmRSS``, or had at the most, ``VmHWM``; on Linux."""
    # Not resource.getrusage: its maximum includes that of the process which started this one.
    match = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024


def require_compiler() -> None:
    """Check, by the rule by which torch.compile itself looks for one, that there is a C++ compiler."""
    compiler = shlex.split(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++"))[0]
    if sys.platform != "win32" and shutil.which(compiler) is None:
        raise FileNotFoundError(
            f"torch.compile needs a C++ compiler, and {compiler!r} is not on the PATH; install one (g++ or clang++), "
            "name it in the environment variable CXX, or do without compilation"
        )


@dataclass(frozen=True)
class Machine:
    """Hardware and software of this process, without which no measurement means anything.

    `cores` are those that this process may use, `threads` those that torch computes with.
    """

    cpu: str
    cores: int
    threads: int
    gpu: str | None
    system: str
    python: str
    torch: str
    timm: str
    gpvit: str

    def __str__(self) -> str:
        gpu = f", {self.gpu}" if self.gpu else ""
        return f"{self.cpu}, {self.cores} cores, {self.threads} threads{gpu}, torch {self.torch}, timm {self.timm}"


def describe_machine() -> Machine:
    """Return the description of the machine and versions this process runs on."""
    return Machine(
        cpu=cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
        timm=version("timm"),
        gpvit=__version__,
    )


def cpu_name() -> str:
    """Return the processor's name, as its maker writes it."""
    # platform.processor() names the architecture only on Linux and macOS.
    if sys.platform == "linux":
        if found := re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return found[1]
    elif sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()
