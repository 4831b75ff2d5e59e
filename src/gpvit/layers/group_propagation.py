"""The Group Propagation (GP) block, paper Sec. 3.1, in its order: group, propagate, ungroup.

A few learned group tokens gather the image tokens, exchange information among themselves, and hand it back to
every image token. The cost is linear in the number of image tokens.

Shape letters: B batch, H W token grid, N = H*W image tokens, M group tokens, C channels.
"""

from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from timm.layers import Attention, DropPath, Mlp
from torch import nn

from gpvit.errors import UserError
from gpvit.layers.convolutions import ConvNorm, depthwise, on_grid
from gpvit.layers.token_block import FeedForward
from gpvit.ops.attention import attend, attention_weights

Propagation = Literal["mixer", "attention", "none"]
Fusion = Literal["concatenation", "residual"]


class GroupMaps(NamedTuple):
    """The two attentions of a GP block, laid out as maps over the token grid."""

    grouping: torch.Tensor
    """``(B, heads, M, H, W)``: share of each image token in each group; a group's shares sum to one over the grid."""
    ungrouping: torch.Tensor
    """``(B, heads, M, H, W)``: share of each group in the answer to each token; sums to one over the groups."""


class Grouping(nn.Module):
    """Group tokens gather image tokens by cross-attention (Eq. 1-2).

    code: neither the query nor the value is projected (key and value are the same normalised tokens, only the key
    goes through a Linear), and the result is not added to the group tokens.
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.norm_query = nn.LayerNorm(dim)
        self.norm_key = nn.LayerNorm(dim)
        self.key = nn.Linear(dim, dim)

    def forward(
        self, groups: torch.Tensor, x: torch.Tensor, return_weights: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Gather ``x`` ``(B, N, C)`` into ``groups`` ``(1, M, C)``; the attention is ``(B, heads, M, N)``."""
        query = self.norm_query(groups)
        value = self.norm_key(x)
        key = self.key(value)
        weights = attention_weights(query, key, self.num_heads) if return_weights else None
        return attend(query, key, value, self.num_heads), weights


class GroupMixer(nn.Module):
    """An MLP-Mixer layer: groups exchange information, then channels do (Eq. 3-4).

    code: the hidden width of the mixing over groups is ``C/2``, whatever the number of groups.
    """

    def __init__(self, dim: int, num_groups: int, drop_path: float = 0.0):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mix_groups = Mlp(num_groups, dim // 2, num_groups)
        self.drop_path = DropPath(drop_path)
        self.mix_channels = FeedForward(dim, drop_path=drop_path)

    def forward(self, groups: torch.Tensor) -> torch.Tensor:
        """Update groups ``(B, M, C)``."""
        mixed = self.mix_groups(self.norm(groups).transpose(1, 2)).transpose(1, 2)
        return self.mix_channels(groups + self.drop_path(mixed))


class GroupAttention(nn.Module):
    """Self-attention between groups, then an MLP: what the paper compares with the mixer (Table 9)."""

    def __init__(self, dim: int, num_heads: int, drop_path: float = 0.0):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads, qkv_bias=True)
        self.drop_path = DropPath(drop_path)
        self.mix_channels = FeedForward(dim, drop_path=drop_path)

    def forward(self, groups: torch.Tensor) -> torch.Tensor:
        """Update groups ``(B, M, C)``."""
        return self.mix_channels(groups + self.drop_path(self.attn(self.norm(groups))))


class Ungrouping(nn.Module):
    """Every image token reads from the groups by cross-attention (Eq. 5) and merges the answer.

    code: token and answer are concatenated and projected, ``Linear(2C, C)``; there is no residual connection.
    The fusion ``"residual"`` adds the answer to the token instead.
    """

    def __init__(self, dim: int, num_heads: int, drop_path: float = 0.0, fusion: Fusion = "concatenation"):
        super().__init__()
        self.num_heads = num_heads
        self.norm_query = nn.LayerNorm(dim)
        self.norm_key = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        self.drop_path = DropPath(drop_path)
        if fusion not in get_args(Fusion):
            raise UserError(f"fusion must be one of {', '.join(get_args(Fusion))}; got {fusion!r}")
        self.merge = nn.Linear(2 * dim, dim) if fusion == "concatenation" else None

    def forward(
        self, x: torch.Tensor, groups: torch.Tensor, return_weights: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Hand ``groups`` ``(B, M, C)`` back to ``x`` ``(B, N, C)``; the attention is ``(B, heads, N, M)``."""
        groups = self.norm_key(groups)
        query, key, value = self.query(self.norm_query(x)), self.key(groups), self.value(groups)
        weights = attention_weights(query, key, self.num_heads) if return_weights else None
        answer = self.drop_path(self.proj(attend(query, key, value, self.num_heads)))
        return (x + answer if self.merge is None else self.merge(torch.cat([x, answer], dim=-1))), weights


class GroupPropagationBlock(nn.Module):
    """Grouping, propagation, ungrouping, an MLP, and a depthwise convolution (Sec. 3.1, Eq. 1-6).

    code: batch norm and ReLU follow the convolution (Eq. 6 has neither), without residual, so every output is >= 0.
    code: layer norms in this block have eps 1e-5, those of the rest of the network 1e-6.

    Args:
        dim: Channels, ``C``.
        num_groups: Number of group tokens, ``M``.
        num_heads: Heads of both cross-attentions.
        mlp_ratio: Hidden width of the MLP over ``C``.
        drop_path: Probability of dropping a residual branch for a sample.
        propagation: Between grouping and ungrouping, groups exchange information by an MLP-Mixer, by self-attention
            or not at all (Table 9).
        fusion: How a token takes up the groups' answer.
        dwconv: End with the depthwise convolution, its norm and ReLU.
        conv_norm: False leaves out that norm and ReLU, as the paper writes Eq. 6.

    Raises:
        ValueError: If `num_heads` does not divide `dim`, or `propagation` or `fusion` is unknown.
    """

    def __init__(
        self,
        dim: int,
        num_groups: int,
        num_heads: int = 6,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        propagation: Propagation = "mixer",
        fusion: Fusion = "concatenation",
        dwconv: bool = True,
        conv_norm: bool = True,
    ):
        super().__init__()
        if dim % num_heads:
            raise UserError(f"num_heads must divide dim={dim}; got {num_heads}")
        self.group_tokens = nn.Parameter(torch.empty(1, num_groups, dim))
        self.grouping = Grouping(dim, num_heads)
        self.mixer = _propagation(propagation, dim, num_groups, num_heads, drop_path)
        self.ungrouping = Ungrouping(dim, num_heads, drop_path, fusion)
        self.mlp = FeedForward(dim, mlp_ratio, drop_path=drop_path)
        self.dwconv: nn.Module = nn.Identity()
        self.rectifies = dwconv and conv_norm
        if self.rectifies:
            self.dwconv = ConvNorm(dim, dim, kernel_size=3, padding=1, groups=dim)
        elif dwconv:
            self.dwconv = depthwise(dim, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the group tokens."""
        nn.init.trunc_normal_(self.group_tokens, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Update tokens ``(B, H, W, C)``."""
        return self._propagate(x, return_weights=False)[0]

    def forward_with_maps(self, x: torch.Tensor) -> tuple[torch.Tensor, GroupMaps]:
        """Update tokens ``(B, H, W, C)`` and return the two attentions as well."""
        grid = x.shape[1:3]
        x, grouping, ungrouping = self._propagate(x, return_weights=True)
        assert grouping is not None
        assert ungrouping is not None
        return x, GroupMaps(grouping.unflatten(-1, grid), ungrouping.transpose(-2, -1).unflatten(-1, grid))

    def _propagate(
        self, x: torch.Tensor, return_weights: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        grid = x.shape[1:3]
        x = x.flatten(1, 2)  # (B, N, C)
        groups, grouping = self.grouping(self.group_tokens, x, return_weights)
        groups = self.mixer(groups)
        x, ungrouping = self.ungrouping(x, groups, return_weights)
        x = on_grid(self.dwconv, self.mlp(x).unflatten(1, grid))
        return F.relu(x, inplace=True) if self.rectifies else x, grouping, ungrouping


def _propagation(kind: str, dim: int, num_groups: int, num_heads: int, drop_path: float) -> nn.Module:
    if kind == "mixer":
        return GroupMixer(dim, num_groups, drop_path)
    if kind == "attention":
        return GroupAttention(dim, num_heads, drop_path)
    if kind == "none":
        return nn.Identity()
    raise UserError(f"propagation must be one of {', '.join(get_args(Propagation))}; got {kind!r}")
