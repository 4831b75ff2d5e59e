"""Where to compute, with what compiler, and what memory it took."""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import torch

from gpvit.errors import UserError


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """Return the device asked for, or else the accelerator of this machine, or else the CPU.

    Raises:
        ValueError: If there is no such device here.
    """
    if device is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch built without a device's support asserts
        reason = str(error).splitlines()[0]
        raise UserError(f"device {str(device)!r} cannot be used here: {reason}; choose 'cpu'") from error


def peak_memory(device: torch.device) -> int | None:
    """Return the most bytes in use so far, or None where the system does not tell.

    Args:
        device: A GPU, for what torch had allocated there, or the CPU, for this process's resident memory.
    """
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
    """Check, by the rule by which torch.compile itself looks for one, that there is a C++ compiler.

    Raises:
        FileNotFoundError: If there is none.
    """
    compiler = shlex.split(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++"))[0]
    if sys.platform != "win32" and shutil.which(compiler) is None:
        raise FileNotFoundError(
            f"torch.compile needs a C++ compiler, and {compiler!r} is not on the PATH; install one (g++ or clang++), "
            "name it in the environment variable CXX, or do without compilation"
        )
