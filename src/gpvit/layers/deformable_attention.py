"""Attention of queries to a few places that they choose themselves, on one or several maps."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from gpvit.errors import UserError
from gpvit.ops.deformable import Grid, deformable_sample


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention (Deformable DETR, Sec. 4.1): offsets and weights are linear in the query.

    Each of ``h`` heads takes ``P`` points on each of ``L`` maps. At the start a head looks in a direction of its own,
    its points one cell further each, with equal weights.
    """

    def __init__(self, dim: int, num_levels: int, num_heads: int = 6, num_points: int = 4):
        super().__init__()
        if dim % num_heads:
            raise UserError(f"num_heads must divide dim={dim}; got {num_heads}")
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        samples = num_heads * num_levels * num_points
        self.offsets = nn.Linear(dim, 2 * samples)
        self.weights = nn.Linear(dim, samples)
        self.value = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

        for linear in (self.offsets, self.weights):
            nn.init.zeros_(linear.weight)
        for linear in (self.value, self.proj):
            nn.init.xavier_uniform_(linear.weight)
        for linear in (self.weights, self.value, self.proj):
            nn.init.zeros_(linear.bias)
        angles = 2 * math.pi / self.num_heads * torch.arange(self.num_heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions = directions / directions.abs().amax(dim=-1, keepdim=True)
        steps = torch.arange(1, self.num_points + 1)
        offsets = directions[:, None, None] * steps[:, None]  # (h, 1, P, 2)
        with torch.no_grad():
            self.offsets.bias.copy_(offsets.expand(-1, self.num_levels, -1, -1).flatten())

    def forward(
        self, query: torch.Tensor, places: torch.Tensor, tokens: torch.Tensor, shapes: Sequence[Grid]
    ) -> torch.Tensor:
        """Attend from queries ``(B, Q, C)`` to maps, and return ``(B, Q, C)``.

        Args:
            query: What asks.
            places: Where each query is, ``(Q, 2)``, x before y, every map measuring 1 x 1.
            tokens: The maps one after the other, ``(B, S, C)``.
            shapes: Height and width of each map.
        """
        heads = (self.num_heads, self.num_levels, self.num_points)
        # From here to the samples in float32, for in 16 bits a place would be rounded to a whole cell.
        offsets = self.offsets(query).float().unflatten(-1, (*heads, 2))
        weights = self.weights(query).float().unflatten(-1, heads).flatten(-2).softmax(dim=-1)
        # Filled rather than copied from a list: a device need not wait for it, nor an exported graph fix the sizes.
        cells = torch.stack([offsets.new_full((), side) for height, width in shapes for side in (width, height)])
        locations = places[:, None, None, None] + offsets / cells.view(-1, 1, 2)
        value = self.value(tokens).unflatten(-1, (self.num_heads, -1))
        return self.proj(deformable_sample(value, shapes, locations, weights.unflatten(-1, heads[1:])))
