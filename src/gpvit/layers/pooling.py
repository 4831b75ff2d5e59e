"""What turns a map of features into one vector per image."""

import torch
from timm.layers import SelectAdaptivePool2d
from torch import nn

from gpvit.errors import UserError
from gpvit.ops.attention import attend

_POOLS = ("avg", "max", "avgmax", "")  # of timm, which has more that change the number of channels


class AttentionPool(nn.Module):
    """One learned token gathers the grid by attention, ``(B, H, W, C)`` to ``(B, C)``.

    code: the released L1 and L2 pool in this way, the paper speaks of averaging. The token starts at zero, which
    makes attention uniform: an untrained pool is the mean.
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        if dim % num_heads:
            raise UserError(f"num_heads must divide dim={dim}; got {num_heads}")
        self.num_heads = num_heads
        self.token = nn.Parameter(torch.empty(1, 1, dim))
        self.norm = nn.LayerNorm(dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw what is learned."""
        nn.init.zeros_(self.token)
        nn.init.trunc_normal_(self.key.weight, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Gather the grid into one vector."""
        x = x.flatten(1, 2)
        return attend(self.norm(self.token), self.key(x), x, self.num_heads).squeeze(1)


def build_pool(name: str, dim: int, num_heads: int) -> nn.Module:
    """Build ``"attn"``, attention pooling, ``"avg"``, ``"max"``, ``"avgmax"``, or ``""``, which keeps the grid.

    The paper, and the released L3 and L4, take the mean.
    """
    if name == "attn":
        return AttentionPool(dim, num_heads)
    if name not in _POOLS:
        raise UserError(f"global_pool must be 'attn', {', '.join(map(repr, _POOLS))}; got {name!r}")
    return SelectAdaptivePool2d(pool_type=name, flatten=True, input_fmt="NHWC") if name else nn.Identity()
