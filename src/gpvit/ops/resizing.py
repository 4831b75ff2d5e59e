"""Resize maps: learned positions to other grids, and by bands of rows what is too large to be held whole.

The values of bands are those of ``interpolate(maps, size, mode="bilinear", align_corners=False)``, up to rounding.

Shape letters: C channels, h w size of the source, H W size of the output.
"""

import torch
import torch.nn.functional as F

from gpvit.ops.tracing import is_for_any_size
from gpvit.runtime.resizing import neighbours


def resize_pos_embed(pos_embed: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Interpolate a position embedding ``(1, H, W, C)`` to another token grid: bicubic, corners not aligned."""
    if torch.compiler.is_exporting():
        return _resize_by_products(pos_embed, grid)
    # Interpolating to the same size changes nothing, so a graph for every size may do it always.
    if not is_for_any_size(pos_embed) and tuple(pos_embed.shape[1:3]) == grid:
        return pos_embed
    resized = F.interpolate(pos_embed.permute(0, 3, 1, 2), size=grid, mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1)


def _resize_by_products(pos_embed: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Interpolate by two products with matrices: runtimes disagree on bicubic resizing, and on products they do not."""
    rows, columns = (
        _cubic_shares(length, new).to(pos_embed) for length, new in zip(pos_embed.shape[1:3], grid, strict=True)
    )
    tall = (rows @ pos_embed[0].flatten(1)).unflatten(1, pos_embed.shape[2:])  # (H, w, C)
    return (columns @ tall)[None]


def _cubic_shares(length: int, new_length: int) -> torch.Tensor:
    """Return how much each of ``length`` places weighs in each of the new ones, ``(new_length, length)``."""
    scale = torch.full((), float(length)) / new_length
    centres = (torch.arange(new_length) + 0.5).double() * scale.double() - 0.5  # rounded once, as torch does
    # Two places are repeated beyond either end, and weigh there what the end does.
    distance = (centres.float()[:, None] - torch.arange(-2, length + 2)).abs()
    near = (1.25 * distance - 2.25) * distance * distance + 1
    far = ((-0.75 * distance + 3.75) * distance - 6) * distance + 3
    shares = torch.where(distance <= 1, near, torch.where(distance < 2, far, 0.0))
    ends = torch.eye(length)[[0, 0, *range(length), length - 1, length - 1]]
    return shares @ ends


def average_cells(x: torch.Tensor, side: int) -> torch.Tensor:
    """Average maps ``(B, C, h, w)`` over ``side x side`` cells, as ``adaptive_avg_pool2d`` does."""
    if not torch.compiler.is_exporting():
        return F.adaptive_avg_pool2d(x, side)
    # Exporters to ONNX get its cells wrong at other sizes; two products are the same.
    rows, columns = (_shares(length, side).to(x) for length in x.shape[2:])
    return rows @ x @ columns.T


def _shares(length: int, side: int) -> torch.Tensor:
    """Return how much each of ``length`` places weighs in the mean of each cell, ``(side, length)``."""
    cells, places = torch.arange(side), torch.arange(length)
    starts, ends = cells * length // side, ((cells + 1) * length + side - 1) // side
    inside = (places >= starts[:, None]) & (places < ends[:, None])
    return inside / (ends - starts)[:, None]


def source_rows(height: int, new_height: int, rows: range) -> range:
    """Tell which of the source's rows some rows of the output, at least one, are made of."""
    lower, upper, _ = _neighbours(height, new_height, rows)
    return range(int(lower[0]), int(upper[-1]) + 1)


def resize_rows(
    maps: torch.Tensor, size: tuple[int, int], rows: range, height: int | None = None, first: int = 0
) -> torch.Tensor:
    """Make some rows of the resized maps, and no others: ``(C, len(rows), W)`` of the whole `size` ``(H, W)``.

    Args:
        maps: ``(C, h, w)``, float32; of a source not held whole, at least the rows that :func:`source_rows` names.
        size: Height and width of the whole output.
        rows: Rows of the output to make, at least one.
        height: Rows of the whole source, where ``maps`` is a part of it.
        first: Row of the whole source that ``maps`` begins with.
    """
    lower, upper, share = _neighbours(height or maps.shape[1], size[0], rows)
    start, stop = int(lower[0]), int(upper[-1]) + 1
    needed = maps[None, :, start - first : stop - first]
    wide = F.interpolate(needed, (stop - start, size[1]), mode="bilinear", align_corners=False)[0]
    above, below = (wide.index_select(1, (index - start).to(maps.device)) for index in (lower, upper))
    return above.lerp_(below, share[:, None].to(maps.device))


def _neighbours(height: int, new_height: int, rows: range) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return, for each row of the output, the source's row above it and below it, and the share of the latter."""
    lower, upper, share = (values[rows.start : rows.stop] for values in neighbours(height, new_height))
    return torch.from_numpy(lower), torch.from_numpy(upper), torch.from_numpy(share)
