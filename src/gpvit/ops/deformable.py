"""Multi-scale deformable sampling: every query reads a few places of its own choice (Deformable DETR, 2010.04159).

Shape letters: B batch, Q queries, C channels, h heads, d = C/h, L levels, P points of a head on a level, H W grid of
a level, S tokens of all levels.
"""

from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from gpvit.errors import UserError

Grid = tuple[int, int]

# The heads are taken in so many parts where gradients are needed: the backward pass of a part takes several times the
# memory of its samples' places and weights, and one part is over before the next one starts.
PARTS = 2
# Where there are at most so many coordinates, memory is no concern, and a tenth of a training step is saved.
FEW = 2**18


def deformable_sample(
    value: torch.Tensor, shapes: Sequence[Grid], locations: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Sum weighted bilinear samples of several maps, to ``(B, Q, h * d)``; outside of a map is zero.

    All arithmetic is in float32, or in float64 if values are, whatever autocast says. For the backward pass only the
    arguments are kept, unless there are few: what lies between is computed again, one level and half of the heads at a
    time.

    Args:
        value: Tokens of all levels, one level after the other, each in row-major order, ``(B, S, h, d)``.
        shapes: Height and width of each level.
        locations: Where to sample, ``(B, Q, h, L, P, 2)``, x before y, each map measuring 1 x 1 from corner to corner.
        weights: Weight of each sample, ``(B, Q, h, L, P)``.
    """
    sizes = [height * width for height, width in shapes]
    if sum(sizes) != value.shape[1]:
        raise UserError(f"levels of {list(shapes)} make {sum(sizes)} tokens, but value has {value.shape[1]}")
    if locations.shape[3] != len(shapes) or locations.shape[:5] != weights.shape:
        raise UserError(
            f"expected locations (B, Q, heads, {len(shapes)}, P, 2) and weights (B, Q, heads, {len(shapes)}, P), got "
            f"{tuple(locations.shape)} and {tuple(weights.shape)}"
        )
    # No operation below is one that autocast makes less precise than its arguments.
    precise = torch.float64 if value.dtype == torch.float64 else torch.float32
    levels = zip(
        value.split(sizes, dim=1), shapes, locations.to(precise).unbind(3), weights.to(precise).unbind(3), strict=True
    )
    samples = (_sample_level(v.to(precise), shape, where, share) for v, shape, where, share in levels)
    return reduce(torch.add, samples).to(value.dtype)


def _sample_level(value: torch.Tensor, shape: Grid, locations: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sample one level, values ``(B, H*W, h, d)`` at locations ``(B, Q, h, P, 2)``, to ``(B, Q, h * d)``."""
    if torch.compiler.is_exporting() or not torch.is_grad_enabled() or locations.numel() <= FEW:
        return _sum_neighbours(value, shape, locations, weights)
    parts = zip(*(t.chunk(PARTS, dim=2) for t in (value, locations, weights)), strict=True)
    return torch.cat(
        [
            checkpoint(_sum_neighbours, v, shape, where, share, use_reentrant=False, preserve_rng_state=False)
            for v, where, share in parts
        ],
        dim=-1,
    )


def _sum_neighbours(value: torch.Tensor, shape: Grid, locations: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sample with the four neighbours of every location as rows of a table."""
    H, W = shape
    B, _, h, d = value.shape
    table = F.pad(value.unflatten(1, shape), (0, 0, 0, 0, 1, 1, 1, 1))  # (B, H+2, W+2, h, d), zeros all around
    # In units of cells, from the centre of the first one; beyond the zeros nothing changes any more.
    x = (locations[..., 0] * W - 0.5).clamp(-1, W)
    y = (locations[..., 1] * H - 0.5).clamp(-1, H)
    left, top = x.detach().floor().clamp(max=W - 1), y.detach().floor().clamp(max=H - 1)
    x, y = x - left, y - top  # not a number stays so here; as an index it would be no row of the table
    left, top = (corner.where(corner >= -1, -1).int() + 1 for corner in (left, top))

    image = torch.arange(B, dtype=torch.int32, device=value.device).view(B, 1, 1, 1)
    head = torch.arange(h, dtype=torch.int32, device=value.device).view(h, 1)
    row = ((image * (H + 2) + top) * (W + 2) + left) * h + head  # (B, Q, h, P)
    below = (W + 2) * h
    rows = torch.stack([row, row + h, row + below, row + below + h], dim=-1)
    upper, lower = weights * (1 - y), weights * y
    shares = torch.stack([upper * (1 - x), upper * x, lower * (1 - x), lower * x], dim=-1)
    sums = _sum_rows(table.view(-1, d), rows.flatten(0, 2).flatten(1), shares.flatten(0, 2).flatten(1))
    return sums.view(B, -1, h * d)


def _sum_rows(table: torch.Tensor, rows: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Sum some rows of a table ``(R, d)`` for each of n places, rows and shares ``(n, k)``, to ``(n, d)``."""
    # An embedding bag needs no tensor of rows, but exists on these devices and in no exchange format. GridSample does,
    # but TensorRT and WebGPU get it wrong.
    if table.device.type not in ("cpu", "cuda", "meta") or torch.compiler.is_exporting():
        return (shares[:, None] @ F.embedding(rows, table))[:, 0]
    return F.embedding_bag(rows, table, mode="sum", per_sample_weights=shares)
