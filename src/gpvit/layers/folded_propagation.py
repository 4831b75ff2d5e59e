"""The two cross-attentions of a GP block for inference: the same numbers with fewer products.

Groups are few: what a Linear does to every image token is done to the groups instead, wherever that is less work.

Shape letters: B batch, N image tokens, M group tokens, C channels, h heads, d = C/h.
"""

import torch
from torch import nn

from gpvit.layers.group_propagation import Grouping, Ungrouping
from gpvit.ops.attention import merge_heads, split_heads


def precise(value: torch.Tensor) -> torch.Tensor:
    """Return the values in which folds are computed: in float64, which not every device has."""
    return value.detach().cpu().double()


def constant(value: torch.Tensor, like: torch.Tensor) -> nn.Parameter:
    """Make a parameter that is not trained, of the type and on the device of another."""
    return nn.Parameter(value.detach().to(like).contiguous(), requires_grad=False)


def merge_of_attended(ungrouping: Ungrouping) -> nn.Linear:
    """Return the merging of :class:`Ungrouping` for answers that are not projected: it projects them itself."""
    merge, proj, dim = ungrouping.merge, ungrouping.proj, ungrouping.proj.out_features
    assert merge is not None
    own, answers = precise(merge.weight).split(dim, dim=1)
    folded = nn.Linear(2 * dim, dim, device="meta")
    folded.weight = constant(torch.cat([own, answers @ precise(proj.weight)], dim=1), merge.weight)
    folded.bias = constant(precise(merge.bias) + answers @ precise(proj.bias), merge.bias)
    return folded


class FoldedGrouping(nn.Module):
    """:class:`Grouping` whose queries, equal for all images, hold the projection of the keys: ``h * M`` of width ``C``.

    The bias of the keys changes all scores of a query alike, so that the softmax does not see it.
    """

    def __init__(self, grouping: Grouping, group_tokens: torch.Tensor):
        super().__init__()
        self.num_heads = grouping.num_heads
        self.norm_key = grouping.norm_key
        query = split_heads(precise(grouping.norm_query(group_tokens)), self.num_heads)[0]  # (h, M, d)
        project = precise(grouping.key.weight).unflatten(0, (self.num_heads, -1))  # (h, d, C)
        queries = query @ project * query.shape[-1] ** -0.5
        self.queries = constant(queries.flatten(0, 1), group_tokens)

    def forward(
        self, groups: torch.Tensor, x: torch.Tensor, return_weights: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Gather ``x`` ``(B, N, C)`` into the groups of the queries; the attention is ``(B, h, M, N)``."""
        value = self.norm_key(x)
        weights = (self.queries @ value.transpose(1, 2)).softmax(dim=-1).unflatten(1, (self.num_heads, -1))
        return merge_heads(weights @ split_heads(value, self.num_heads)), weights if return_weights else None


class FoldedUngrouping(nn.Module):
    """:class:`Ungrouping` whose keys hold the projection of the queries, and its values all that follows them."""

    def __init__(self, ungrouping: Ungrouping):
        super().__init__()
        self.num_heads, dim = ungrouping.num_heads, ungrouping.proj.out_features
        self.norm_query, self.norm_key = ungrouping.norm_query, ungrouping.norm_key
        self.key, self.value = ungrouping.key, ungrouping.value
        merge, query = merge_of_attended(ungrouping), ungrouping.query
        own, answers = merge.weight.split(dim, dim=1)
        self.own = nn.Linear(dim, dim, device="meta")
        self.own.weight, self.own.bias = constant(own, own), merge.bias
        heads, scale = (self.num_heads, -1), (dim // self.num_heads) ** -0.5
        self.query_weight = constant(query.weight.unflatten(0, heads) * scale, query.weight)  # (h, d, C)
        self.query_bias = constant(query.bias.unflatten(0, heads).unsqueeze(-1) * scale, query.bias)  # (h, d, 1)
        self.answers = constant(answers.T.unflatten(0, heads), own)  # (h, d, C)

    def forward(
        self, x: torch.Tensor, groups: torch.Tensor, return_weights: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Hand ``groups`` ``(B, M, C)`` back to ``x`` ``(B, N, C)``; the attention is ``(B, h, N, M)``."""
        groups = self.norm_key(groups)
        key, value = (split_heads(layer(groups), self.num_heads) for layer in (self.key, self.value))  # (B, h, M, d)
        keys, bias = (
            (key @ self.query_weight).flatten(1, 2),
            (key @ self.query_bias).flatten(1),
        )  # (B, h*M, C), (B, h*M)
        scores = torch.baddbmm(bias.unsqueeze(1), self.norm_query(x), keys.transpose(1, 2))
        weights = scores.unflatten(-1, (self.num_heads, -1)).softmax(dim=-1)  # (B, N, h, M)
        answer = torch.baddbmm(self.own(x), weights.flatten(2), (value @ self.answers).flatten(1, 2))
        return answer, weights.transpose(1, 2) if return_weights else None
