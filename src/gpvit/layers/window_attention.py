"""Attention inside square windows, plain and shifted (Swin Transformer, arXiv 2103.14030), as in Tables 6 and 7.

Shape letters: B batch, H W token grid, C channels, w side of a window, n windows per image.
"""

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import WindowAttention
from torch import nn

from gpvit.errors import UserError
from gpvit.layers.token_block import TokenBlock
from gpvit.ops.windows import merge, partition


class ShiftedWindows(nn.Module):
    """Attention with relative position bias inside windows, which may be shifted; timm's, for a grid of any size.

    The grid is zero-padded at the bottom and the right to whole windows. Of a shifted grid, the two ends that meet in
    a window do not see each other.

    Args:
        dim: Channels, ``C``.
        num_heads: Number of heads; divides ``C``.
        window: Side of a window in tokens, ``w``.
        shift: Tokens by which windows are shifted, from 0 to ``w - 1``.
    """

    def __init__(self, dim: int, num_heads: int, window: int, shift: int):
        super().__init__()
        if dim % num_heads:
            raise UserError(f"num_heads must divide dim={dim}; got {num_heads}")
        if not 0 <= shift < window:
            raise UserError(f"shift must be from 0 to {window - 1}, less than the window; got {shift}")
        self.window = window
        self.shift = shift
        self.attn = WindowAttention(dim, num_heads=num_heads, window_size=window)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Exchange information within windows, ``(B, H, W, C)`` to ``(B, H, W, C)``."""
        _, H, W, _ = x.shape
        if H % self.window or W % self.window:  # padding by nothing would copy all tokens
            x = F.pad(x, (0, 0, 0, -W % self.window, 0, -H % self.window))
        grid, window = (x.shape[1], x.shape[2]), (self.window, self.window)
        mask = self._mask(grid, x) if self.shift else None
        x = x.roll((-self.shift, -self.shift), dims=(1, 2)) if self.shift else x
        windows = self.attn(partition(x, window).flatten(1, 2), mask=mask)  # (B * n, w * w, C)
        x = merge(windows.unflatten(1, window), grid)
        x = x.roll((self.shift, self.shift), dims=(1, 2)) if self.shift else x
        return x[:, :H, :W]

    def _mask(self, grid: tuple[int, int], x: torch.Tensor) -> torch.Tensor:
        """Hide from each other, ``(n, w * w, w * w)``, tokens that only the shift has brought together."""
        rows, columns = (torch.arange(side, device=x.device) >= side - self.shift for side in grid)
        regions = 2 * rows[:, None] + columns
        own = partition(regions[None, ..., None], (self.window, self.window)).flatten(1)
        return torch.where(own[:, :, None] == own[:, None], 0.0, -100.0).to(x.dtype)


class WindowBlock(TokenBlock):
    """A local block with windows in place of stripes.

    Args:
        dim: Channels, ``C``.
        num_heads: Number of heads; divides ``C``.
        window: Side of a window in tokens.
        shift: Tokens by which windows are shifted; 0 for plain windows.
        mlp_ratio: Hidden width of the MLP over ``C``.
        drop_path: Probability of dropping a residual branch for a sample.
        dwconv: End with the depthwise convolution.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 12,
        window: int = 7,
        shift: int = 0,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        dwconv: bool = True,
    ):
        super().__init__(dim, ShiftedWindows(dim, num_heads, window, shift), mlp_ratio, drop_path, dwconv)
