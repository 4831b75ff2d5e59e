"""Multi-head attention on token sequences.

Shape letters: B batch, Q queries, K keys, C channels, h heads, d = C/h.
"""

import torch
import torch.nn.functional as F


def split_heads(x: torch.Tensor, num_heads: int) -> torch.Tensor:
    """View ``(B, N, C)`` as ``(B, h, N, d)``; a head is a contiguous group of channels."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(x: torch.Tensor) -> torch.Tensor:
    """Undo :func:`split_heads`: ``(B, h, N, d)`` to ``(B, N, C)``."""
    return x.transpose(1, 2).flatten(2)


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Attend from ``(B, Q, C)`` to ``(B, K, C)`` by scaled dot products in the device's fused kernel: ``(B, Q, C)``.

    Queries ``(1, Q, C)`` are those of every image.
    """
    query, key, value = (split_heads(t, num_heads) for t in (query, key, value))
    query = query.expand(key.shape[0], -1, -1, -1)
    return merge_heads(F.scaled_dot_product_attention(query, key, value))


def attention_weights(query: torch.Tensor, key: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Compute what :func:`attend` gives each key, ``(B, h, Q, K)``, which the fused kernel keeps to itself."""
    query, key = split_heads(query, num_heads), split_heads(key, num_heads)
    return (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1)
