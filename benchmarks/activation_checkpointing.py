"""Memory and time of training with and without gradient checkpointing, each in a fresh process.

`python -m benchmarks.activation_checkpointing` trains GPViT-L1 on 8 images of 224x224 pixels. The targets are at most 0.55
of the memory and 1.35 of the time. Memory is what training adds at its peak to the process with its model; on a CPU it
is resident memory, on a GPU what torch has allocated.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median
from typing import Any, cast

import torch
import torch.nn.functional as F

from gpvit.devices import choose_device, peak_memory, status_bytes
from gpvit.profile.machine import describe_machine
from gpvit.zoo.catalog import create_model

MIB = 2**20
CLASSES = 1000


@dataclass(frozen=True)
class Setting:
    """What is trained.

    Args:
        model: Name of a classifier of the catalog.
        size: Side of the images in pixels.
        batch: Images of a step.
        steps: Timed steps, after one that is not timed.
        device: `cpu` or `cuda`.
    """

    model: str = "gpvit_l1"
    size: int = 224
    batch: int = 8
    steps: int = 3
    device: str = "cpu"


_SMALLEST = Setting("gpvit_nano", 32, 2, 1)


@dataclass(frozen=True)
class Cost:
    """What training took.

    Args:
        idle: Bytes in use before the first step.
        peak: Most bytes in use.
        seconds: Median duration of a step.
    """

    idle: int
    peak: int
    seconds: float

    @property
    def added(self) -> int:
        """Bytes that training adds at its peak."""
        return self.peak - self.idle


def measure(setting: Setting, checkpointing: bool) -> Cost:
    """Train in a process of its own.

    Args:
        setting: What is trained.
        checkpointing: Whether with gradient checkpointing.

    Raises:
        RuntimeError: If the process fails.
    """
    command = [sys.executable, "-m", "benchmarks.activation_checkpointing", "--measure", json.dumps(asdict(setting))]
    command += [str(int(checkpointing))]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"training {setting} failed:\n{process.stderr}")
    return Cost(**json.loads(process.stdout.splitlines()[-1]))


def _measure_here(setting: Setting, checkpointing: bool) -> Cost:
    if setting != _SMALLEST:
        _measure_here(_SMALLEST, checkpointing)  # loads what is loaded once
    torch.manual_seed(0)
    device = choose_device(setting.device)
    model: Any = create_model(setting.model, num_classes=CLASSES, img_size=(setting.size, setting.size)).to(device)
    model.train().set_grad_checkpointing(checkpointing)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    images = torch.rand(setting.batch, 3, setting.size, setting.size, device=device)
    labels = torch.arange(setting.batch, device=device) % CLASSES
    idle = torch.cuda.memory_allocated(device) if device.type == "cuda" else status_bytes("VmRSS")
    times = [time.perf_counter()]
    for _ in range(1 + setting.steps):
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter())
    durations = [after - before for before, after in pairwise(times[1:])]
    return Cost(idle, cast(int, peak_memory(device)), median(durations))


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.activation_checkpointing", description=__doc__)
    for name, value in asdict(Setting()).items():
        parser.add_argument(f"--{name}", default=value, type=type(value))
    parser.add_argument("--rounds", default=2, type=int)
    settings = vars(parser.parse_args())
    rounds = settings.pop("rounds")
    setting = Setting(**settings)
    costs: dict[bool, list[Cost]] = {False: [], True: []}
    for _ in range(rounds):
        for checkpointing, measured in costs.items():
            measured.append(measure(setting, checkpointing))
    added, peak, seconds = (
        [median(getattr(cost, name) for cost in measured) for measured in costs.values()]
        for name in ("added", "peak", "seconds")
    )
    print(describe_machine())
    print(f"{setting.model}, {setting.size} pixels, batch {setting.batch}, training, median of {rounds} processes each")
    for place, name in enumerate(("without checkpointing", "with")):
        print(
            f"{name:22} {added[place] / MIB:7.0f} MiB added, {peak[place] / MIB:7.0f} MiB at the peak of the process, "
            f"{seconds[place]:6.2f} s a step"
        )
    print(
        f"ratios: memory {added[1] / added[0]:.3f} ({peak[1] / peak[0]:.3f} of the process), "
        f"time {seconds[1] / seconds[0]:.3f}"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(asdict(_measure_here(Setting(**json.loads(sys.argv[2])), bool(int(sys.argv[3]))))))
    else:
        main()
