"""Memory and time of training with and without gradient checkpointing, each in a fresh process.

`python -m benchmarks.activation_checkpointing` trains GPViT-L1 on 8 images of 224x224 pixels. The targets are at most
0.55 of the memory and 1.35 of the time. Memory is what training adds at its peak to the process with its model; on a
CPU it is resident memory, on a GPU what torch has allocated.
"""

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F

from gpvit import create_model
from gpvit.devices import choose_device, describe_machine
from gpvit.profile.measure import Memory, measure_memory

CLASSES = 1000


def build(model: str, size: int, batch: int, device: str, checkpointing: bool) -> Callable[[], None]:
    """Make a training step of a model on random images."""
    torch.manual_seed(0)
    place = choose_device(device)
    network: Any = create_model(model, num_classes=CLASSES, img_size=(size, size)).to(place)
    network.train().set_grad_checkpointing(checkpointing)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    images, labels = torch.rand(batch, 3, size, size, device=place), torch.arange(batch, device=place) % CLASSES

    def step() -> None:
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.activation_checkpointing", description=__doc__)
    defaults = {"model": "gpvit_l1", "size": 224, "batch": 8, "steps": 3, "device": "cpu", "rounds": 2}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", default=default, type=type(default))
    given = parser.parse_args()
    costs: dict[bool, list[Memory]] = {False: [], True: []}
    for _ in range(given.rounds):
        for checkpointing, measured in costs.items():
            step = partial(build, given.model, given.size, given.batch, given.device, checkpointing)
            small = partial(build, "gpvit_nano", 32, 2, given.device, checkpointing)
            measured.append(measure_memory(step, 1 + given.steps, small, given.device))
    print(describe_machine())
    print(f"{given.model}, {given.size} pixels, batch {given.batch}, training, {given.rounds} fresh processes each")
    figures = []
    for name, measured in zip(("without checkpointing", "with"), costs.values(), strict=True):
        added = median(memory.added_mib or 0 for memory in measured)
        seconds = median(duration for memory in measured for duration in memory.seconds[1:])
        figures.append((added, seconds))
        print(f"{name:22}{added:8.0f} MiB added, {seconds:6.2f} s a step")
    print("ratios: " + ", ".join(f"{n} {b / a:.3f}" for n, a, b in zip(("memory", "time"), *figures, strict=True)))


if __name__ == "__main__":
    main()
