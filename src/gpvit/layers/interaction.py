"""How the tokens of a plain vision transformer and a pyramid of maps exchange information (ViT-Adapter, Sec. 3.4).

Shape letters: B batch, N tokens of the transformer, S tokens of the pyramid, all its maps together, Q queries,
C channels.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import nn

from gpvit.errors import UserError
from gpvit.layers.convolutions import depthwise, on_grid
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
        """Attend from queries ``(B, Q, C)`` to the tokens ``(B, S, C)`` of maps, one after the other: ``(B, Q, C)``.

        Places ``(Q, 2)`` tell where each query is, x before y, every map measuring 1 x 1.
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


class Geometry(NamedTuple):
    """Where the tokens of one side lie on the maps of the other."""

    places: torch.Tensor
    """``(Q, 2)``, x before y, as parts of the other side's width and height."""
    shapes: Sequence[Grid]
    """Height and width of the other side's maps."""


class Injector(nn.Module):
    """Transformer tokens read from the pyramid: ``x + gamma * attention(norm(x), norm(pyramid))``.

    ``gamma`` starts at zero, thus an adapter that has not been trained leaves its transformer as it was.
    """

    def __init__(self, dim: int, num_levels: int, num_heads: int, num_points: int):
        super().__init__()
        self.norm_query = nn.LayerNorm(dim, eps=1e-6)
        self.norm_key = nn.LayerNorm(dim, eps=1e-6)
        self.attn = DeformableAttention(dim, num_levels, num_heads, num_points)
        self.gamma = nn.Parameter(torch.zeros(dim))

    def forward(self, x: torch.Tensor, pyramid: torch.Tensor, geometry: Geometry) -> torch.Tensor:
        """Update ``x`` ``(B, N, C)`` from ``pyramid`` ``(B, S, C)``."""
        return x + self.gamma * self.attn(self.norm_query(x), geometry.places, self.norm_key(pyramid), geometry.shapes)


class Extractor(nn.Module):
    """The pyramid reads from the transformer's tokens, then a convolutional MLP mixes within each of its maps."""

    def __init__(self, dim: int, num_heads: int, num_points: int, mlp_ratio: float = 0.25, drop_path: float = 0.0):
        super().__init__()
        self.norm_query = nn.LayerNorm(dim, eps=1e-6)
        self.norm_key = nn.LayerNorm(dim, eps=1e-6)
        self.attn = DeformableAttention(dim, 1, num_heads, num_points)
        self.mlp = ConvFeedForward(dim, mlp_ratio, drop_path)

    def forward(
        self, pyramid: torch.Tensor, x: torch.Tensor, geometry: Geometry, shapes: Sequence[Grid]
    ) -> torch.Tensor:
        """Update ``pyramid`` ``(B, S, C)``, maps of these shapes one after the other, from ``x`` ``(B, N, C)``."""
        read = self.attn(self.norm_query(pyramid), geometry.places, self.norm_key(x), geometry.shapes)
        return self.mlp(pyramid + read, shapes)


class ConvFeedForward(nn.Module):
    """``x + drop_path(fc2(gelu(conv(fc1(norm(x))))))`` with one depthwise convolution for all maps of a pyramid."""

    def __init__(self, dim: int, ratio: float = 0.25, drop_path: float = 0.0):
        super().__init__()
        hidden = int(ratio * dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.fc1 = nn.Linear(dim, hidden)
        self.conv = depthwise(hidden, bias=True)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: torch.Tensor, shapes: Sequence[Grid]) -> torch.Tensor:
        """Update ``x`` ``(B, S, C)``, maps of these shapes one after the other."""
        maps = self.fc1(self.norm(x)).split([height * width for height, width in shapes], dim=1)
        mixed = [on_grid(self.conv, m.unflatten(1, shape)).flatten(1, 2) for m, shape in zip(maps, shapes, strict=True)]
        return x + self.drop_path(self.fc2(F.gelu(torch.cat(mixed, dim=1))))
