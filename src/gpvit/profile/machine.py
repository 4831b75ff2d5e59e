"""The machine and the versions a measurement was made with: no figure means anything without them."""

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import timm
import torch

from gpvit.version import __version__


@dataclass(frozen=True)
class Machine:
    """Hardware and software of this process.

    Args:
        cpu: Name of the processor.
        cores: Cores this process may use.
        threads: Threads torch computes with.
        gpu: Name of the current CUDA device, or None.
        system: Operating system and architecture.
        python: Python's version.
        torch: torch's version.
        timm: timm's version.
        gpvit: This package's version.
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
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
        timm=timm.__version__,
        gpvit=__version__,
    )


def _cpu_name() -> str:
    # platform.processor() names the architecture only on Linux and macOS.
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    elif sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()
