"""Learned positions for other grids than the one they were learned on."""

import torch
import torch.nn.functional as F


def resize_pos_embed(pos_embed: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Interpolate a position embedding ``(1, H, W, C)`` to another token grid: bicubic, corners not aligned."""
    # Interpolating to the same size changes nothing, so a graph for every size may do it always.
    if not torch.compiler.is_exporting() and tuple(pos_embed.shape[1:3]) == grid:
        return pos_embed
    resized = F.interpolate(pos_embed.permute(0, 3, 1, 2), size=grid, mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1)
