"""Time and memory of deformable sampling beside the textbook formula that stacks the samples of all levels.

`python -m benchmarks.deformable` measures forward and backward for the two attentions of an adapter on GPViT-L1, in
a fresh process each.
"""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F

from gpvit.ops.deformable import Grid, deformable_sample
from gpvit.profile.measure import Step, measure_memory

HEADS, HEAD_DIM, POINTS = 6, 36, 4
REPEATS = 5
LEVELS: dict[str, tuple[list[Grid], list[Grid]]] = {
    # Grids of the queries, and of the values, for an image of 800 x 1280 pixels.
    "injector": ([(100, 160)], [(100, 160), (50, 80), (25, 40)]),
    "extractor": ([(100, 160), (50, 80), (25, 40)], [(100, 160)]),
}


def textbook_sample(
    value: torch.Tensor, shapes: Sequence[Grid], locations: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Do what :func:`deformable_sample` does in the usual way: sample every level, stack, weight, sum."""
    B, _, h, d = value.shape
    Q, L, P = locations.shape[1], *locations.shape[3:5]
    samples = []
    for level, (tokens, shape) in enumerate(zip(value.split([H * W for H, W in shapes], 1), shapes, strict=True)):
        maps = tokens.flatten(2).transpose(1, 2).reshape(B * h, d, *shape)
        where = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)
        samples.append(F.grid_sample(maps, where, align_corners=False))
    weights = weights.transpose(1, 2).reshape(B * h, 1, Q, L * P)
    return (torch.stack(samples, dim=-2).flatten(-2) * weights).sum(-1).view(B, h * d, Q).transpose(1, 2).contiguous()


WAYS: dict[str, Callable[..., torch.Tensor]] = {"textbook": textbook_sample, "ours": deformable_sample}


def prepare(way: str, queries: Sequence[Grid], shapes: Sequence[Grid]) -> Step:
    """Return a function that samples around the centres of the queries' grids, forward and backward.

    Args:
        way: A key of ``WAYS``.
        queries: Grids whose cells are the queries.
        shapes: Grids of the levels sampled.
    """
    torch.manual_seed(0)
    centres = torch.cat([torch.cartesian_prod(*((torch.arange(n) + 0.5) / n for n in grid)) for grid in queries])
    size = (1, len(centres), HEADS, len(shapes), POINTS)
    value = torch.randn(1, sum(H * W for H, W in shapes), HEADS, HEAD_DIM, requires_grad=True)
    locations = (centres.flip(1).view(1, -1, 1, 1, 1, 2) + 0.02 * torch.randn(*size, 2)).requires_grad_()
    weights = torch.rand(size, requires_grad=True)
    gradient = torch.randn(1, len(centres), HEADS * HEAD_DIM)

    def step() -> None:
        sampled = WAYS[way](value, shapes, locations, weights)
        torch.autograd.grad(sampled, (value, locations, weights), gradient)

    return step


def main() -> None:
    """Measure both ways for both attentions, and print seconds of a step and MiB that it adds."""
    small: list[Grid] = [(2, 3)]
    for name, grids in LEVELS.items():
        for way in WAYS:
            found = measure_memory(partial(prepare, way, *grids), REPEATS, small=partial(prepare, way, small, small))
            added = "" if found.added_mib is None else f"{found.added_mib:6.0f} MiB"
            print(f"{name:10} {way:9} {median(found.seconds) * 1e3:6.0f} ms {added}")


if __name__ == "__main__":
    main()
