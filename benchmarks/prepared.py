"""What preparing GPViT-L1 for inference brings, part by part, beside the models of timm that people run instead.

`python -m benchmarks.prepared` takes turns in one process, with one thread and with all: a busy machine slows all
alike, and the ratios hold.
"""

import copy
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import timm
import torch
from torch import nn

from gpvit.devices import describe_machine
from gpvit.models.folding import fold
from gpvit.models.prepared import optimize
from gpvit.profile.measure import duration
from gpvit.profile.workload import forward_step

ROUNDS = 9
SETTINGS: Sequence[tuple[tuple[int, ...], str, dict[str, Any]]] = (
    ((8, 3, 224, 224), "vit_small_patch16_224", {}),
    ((1, 3, 800, 1280), "resnet50", {"features_only": True}),
)
WAYS: dict[str, Callable[[nn.Module], nn.Module]] = {"plain": copy.deepcopy, "folded": fold, "prepared": optimize}


def main(model: str = "gpvit_l1") -> None:
    """Print median milliseconds of every way, and their ratios to the plain model of timm."""
    for threads in sorted({1, torch.get_num_threads()}):
        torch.set_num_threads(threads)
        print(describe_machine())
        for shape, peer, options in SETTINGS:
            networks = {name: timm.create_model(name, **options).eval() for name in (model, peer)}
            ways = {f"{name} {way}": make(net) for name, net in networks.items() for way, make in WAYS.items()}
            images = torch.rand(shape)
            steps = {name: forward_step(network.eval(), images, "float32") for name, network in ways.items()}
            seconds: dict[str, list[float]] = {name: [] for name in steps}
            for _ in range(1 + ROUNDS):
                for name, step in steps.items():
                    seconds[name].append(duration(step))
            base = median(seconds[f"{peer} plain"][1:])
            for name, taken in seconds.items():
                found = median(taken[1:])
                print(f"{'x'.join(map(str, shape))}  {name:32} {found * 1e3:7.0f} ms  {found / base:5.2f}")


if __name__ == "__main__":
    main()
