"""How the tokens of a plain vision transformer and a pyramid of maps exchange information (ViT-Adapter, Sec. 3.4).

Shape letters: B batch, N tokens of the transformer, S tokens of the pyramid, all its maps together, C channels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import nn

from gpvit.layers.convolutions import DepthwiseConv
from gpvit.layers.deformable_attention import DeformableAttention
from gpvit.ops.deformable import Grid


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
        self.conv = DepthwiseConv(hidden, bias=True)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: torch.Tensor, shapes: Sequence[Grid]) -> torch.Tensor:
        """Update ``x`` ``(B, S, C)``, maps of these shapes one after the other."""
        maps = self.fc1(self.norm(x)).split([height * width for height, width in shapes], dim=1)
        mixed = [self.conv(m.unflatten(1, shape)).flatten(1, 2) for m, shape in zip(maps, shapes, strict=True)]
        return x + self.drop_path(self.fc2(F.gelu(torch.cat(mixed, dim=1))))
