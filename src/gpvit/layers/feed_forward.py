"""The residual MLP that every block, and the channel half of the group mixer, ends with."""

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import nn

# In inference on a CPU the MLP is applied to about this many tokens at a time: the hidden activations, four times as
# wide as the tokens, then stay in the cache, which saves a quarter of the time and most of the memory.
TOKENS_AT_ONCE = 2048


class FeedForward(nn.Module):
    """``x + drop_path(fc2(gelu(fc1(norm(x)))))`` on the last dimension, hidden `ratio` times as wide."""

    def __init__(self, dim: int, ratio: float = 4.0, eps: float = 1e-5, drop_path: float = 0.0):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=eps)
        self.fc1 = nn.Linear(dim, int(ratio * dim))
        self.fc2 = nn.Linear(int(ratio * dim), dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Update tokens ``(B, *, C)``."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling() or x.device.type != "cpu":
            return x + self.drop_path(self._branch(x))
        tokens = x.flatten(0, -2)
        parts = tokens.chunk(round(len(tokens) / TOKENS_AT_ONCE) or 1)
        return torch.cat([part + self._branch(part) for part in parts]).view_as(x)

    def _branch(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(self.norm(x))))
