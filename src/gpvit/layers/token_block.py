"""What blocks that keep a token grid have in common: a way to exchange information, an MLP, a convolution."""

import torch
from timm.layers import DropPath
from torch import nn

from gpvit.layers.convolutions import depthwise, on_grid
from gpvit.ops.tracing import is_recorded

# In inference on a CPU the MLP is applied to about this many tokens at a time: the hidden activations, four times as
# wide as the tokens, then stay in the cache, which saves a quarter of the time and most of the memory.
TOKENS_AT_ONCE = 2048


class FeedForward(nn.Module):
    """``x + drop_path(fc2(gelu(fc1(norm(x)))))`` on the last dimension, hidden `ratio` times as wide."""

    def __init__(self, dim: int, ratio: float = 4.0, eps: float = 1e-5, drop_path: float = 0.0):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=eps)
        self.fc1 = nn.Linear(dim, int(ratio * dim))
        self.act: nn.Module = nn.GELU()
        self.fc2 = nn.Linear(int(ratio * dim), dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Update tokens ``(B, *, C)``."""
        if self.training or torch.is_grad_enabled() or is_recorded(x) or x.device.type != "cpu":
            return x + self.drop_path(self._branch(x))
        tokens = x.flatten(0, -2)
        updated = torch.empty_like(tokens)
        parts = round(len(tokens) / TOKENS_AT_ONCE) or 1
        for part, place in zip(tokens.chunk(parts), updated.chunk(parts), strict=True):
            torch.add(part, self._branch(part), out=place)
        return updated.view_as(x)

    def _branch(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.act(self.fc1(self.norm(x))))


class TokenBlock(nn.Module):
    """Pre-norm exchange and MLP, both residual, then a depthwise convolution over the whole grid.

    code: the closing convolution has neither bias, norm, activation nor residual.

    Args:
        dim: Channels, ``C``.
        attn: Exchanges information between tokens, ``(B, H, W, C)`` to ``(B, H, W, C)``.
        mlp_ratio: Hidden width of the MLP over ``C``.
        drop_path: Probability of dropping a residual branch for a sample.
        dwconv: End with the depthwise convolution.
    """

    def __init__(
        self,
        dim: int,
        attn: nn.Module,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        dwconv: bool = True,
    ):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.attn = attn
        self.drop_path = DropPath(drop_path)
        self.mlp = FeedForward(dim, mlp_ratio, eps=1e-6, drop_path=drop_path)
        self.dwconv = depthwise(dim, bias=False) if dwconv else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Update tokens ``(B, H, W, C)``."""
        x = x + self.drop_path(self.attn(self.norm(x)))
        return on_grid(self.dwconv, self.mlp(x))
