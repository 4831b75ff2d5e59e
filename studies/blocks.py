"""Blocks that the paper compares its own with: windows, all tokens at once, convolutions, none (Tables 6 and 7).

Importing this module registers them.

Shape letters: B batch, H W token grid, C channels, w side of a window, n windows per image.
"""

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Attention, DropPath
from timm.models.swin_transformer import WindowAttention
from torch import nn

import gpvit
from gpvit.errors import UserError
from gpvit.layers.convolutions import depthwise, on_grid
from gpvit.layers.token_block import FeedForward, TokenBlock
from gpvit.ops.windows import merge, partition


class ShiftedWindows(nn.Module):
    """Attention with relative position bias inside windows of ``w`` tokens a side, which may be shifted by some.

    It is timm's, from Swin Transformer (arXiv 2103.14030), for a grid of any size, which is zero-padded at the bottom
    and the right to whole windows. Of a shifted grid, the two ends that meet in a window do not see each other.
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
        **common: More arguments of :class:`~gpvit.layers.token_block.TokenBlock`.
    """

    def __init__(self, dim: int, num_heads: int = 12, window: int = 7, shift: int = 0, **common: Any):
        super().__init__(dim, ShiftedWindows(dim, num_heads, window, shift), **common)


class GridAttention(nn.Module):
    """timm's multi-head self-attention among all tokens, quadratic in their number, on a grid ``(B, H, W, C)``."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        if dim % num_heads:
            raise UserError(f"num_heads must divide dim={dim}; got {num_heads}")
        self.attn = Attention(dim, num_heads, qkv_bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Exchange information among all tokens."""
        return self.attn(x.flatten(1, 2)).view_as(x)


class GlobalBlock(TokenBlock):
    """A block with global self-attention: what group propagation replaces.

    Args:
        dim: Channels, ``C``.
        num_heads: Number of heads; divides ``C``.
        **common: More arguments of :class:`~gpvit.layers.token_block.TokenBlock`.
    """

    def __init__(self, dim: int, num_heads: int = 12, **common: Any):
        super().__init__(dim, GridAttention(dim, num_heads), **common)


class ConvPropagationBlock(nn.Module):
    """Propagation as ViTDet's between windows (arXiv 2203.16527, Sec. 3): two 3x3 convolutions, added to what came in.

    Args:
        dim: Channels, ``C``.
        drop_path: Probability of dropping the convolutions for a sample.
    """

    def __init__(self, dim: int, drop_path: float = 0.0):
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, kernel_size=3, padding=1, bias=False)
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.conv2 = nn.Conv2d(dim, dim, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.drop_path = DropPath(drop_path)
        nn.init.zeros_(self.norm2.weight)  # as in ViTDet

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Update tokens ``(B, H, W, C)``."""
        y = F.gelu(self.norm1(on_grid(self.conv1, x)))
        return x + self.drop_path(self.norm2(on_grid(self.conv2, y)))


class IsolatedBlock(nn.Module):
    """A local block without attention: tokens meet in the closing convolution only.

    Args:
        dim: Channels, ``C``.
        mlp_ratio: Hidden width of the MLP over ``C``.
        drop_path: Probability of dropping the MLP for a sample.
    """

    def __init__(self, dim: int, mlp_ratio: float = 4.0, drop_path: float = 0.0):
        super().__init__()
        self.mlp = FeedForward(dim, mlp_ratio, eps=1e-6, drop_path=drop_path)
        self.dwconv = depthwise(dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Update tokens ``(B, H, W, C)``."""
        return on_grid(self.dwconv, self.mlp(x))


gpvit.register_block("window", WindowBlock)
gpvit.register_block("global", GlobalBlock)
gpvit.register_block("conv", ConvPropagationBlock)
gpvit.register_block("isolated", IsolatedBlock)
