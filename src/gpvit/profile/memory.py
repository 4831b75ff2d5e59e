"""Peak memory of one step, measured in a fresh process of its own, where nothing else has used memory before.

`python -m gpvit.profile.memory CASE` is that process: it takes a case as JSON and prints the memory as JSON.
"""

import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import torch

from gpvit.devices import status_bytes
from gpvit.profile.workload import Case, build

# A training step allocates the optimiser's state at its end, so the second one is the first with everything in place.
NUM_STEPS = {"forward": 1, "train": 2}


@dataclass(frozen=True)
class Memory:
    """Memory of a process that runs one case.

    On a CPU this is the resident memory of the process, on a GPU what torch has allocated there.

    Args:
        idle: Bytes in use once the model and its input are built.
        peak: Most bytes in use at any time while steps were run.
        seconds: Duration of the last step, without warm-up; compilation, if any, falls into the first.
    """

    idle: int
    peak: int
    seconds: float

    @property
    def over_idle(self) -> int:
        """Bytes that running adds at its peak to the idle process."""
        return self.peak - self.idle


def measure_memory(case: Case) -> Memory | None:
    """Return the memory of a case, run in a process of its own, or None where the system does not tell.

    Args:
        case: What to run.

    Raises:
        MemoryError: If the case does not fit into memory.
        RuntimeError: If the process fails for another reason.
    """
    if torch.device(case.device).type == "cpu" and sys.platform != "linux":
        return None
    command = [sys.executable, "-m", "gpvit.profile.memory", json.dumps(asdict(case))]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    # Linux kills the process that exhausts its memory.
    if process.returncode == -signal.SIGKILL or process.stderr.rstrip().rpartition("\n")[2].startswith("MemoryError"):
        raise MemoryError(f"{case} does not fit into memory")
    if process.returncode:
        raise RuntimeError(f"measuring the memory of {case} failed:\n{process.stderr}")
    return Memory(**json.loads(process.stdout.splitlines()[-1]))


def _measure_here(case: Case) -> Memory:
    """Return the memory of a case run in this process, which must be fresh."""
    step = build(case)
    device = torch.device(case.device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        idle = torch.cuda.memory_allocated(device)
    else:
        idle = status_bytes("VmRSS")
    for _ in range(NUM_STEPS[case.mode]):
        start = time.perf_counter()
        step()
        seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else status_bytes("VmHWM")
    return Memory(idle, peak, seconds)


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    print(json.dumps(asdict(_measure_here(Case(**settings | {"size": tuple(settings["size"])})))))
