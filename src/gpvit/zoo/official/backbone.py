"""The names of the authors' backbones and classifiers, turned into ours.

The position embedding is laid out as a grid, and the queries, keys and values of a local block are divided between
its two directions.
"""

import math
import re
from collections.abc import Callable

import torch

from gpvit.errors import UserError
from gpvit.zoo.official.renaming import Renaming, Weights, first_match

# Alternated in this order; a group's number stands for what it matched.
_RENAMED_IN_CLASSIFIER: Renaming = (
    (r"neck\.group_token", "pool.token"),
    (r"neck\.norm_query", "pool.norm"),
    (r"neck\.attn\.k_proj", "pool.key"),
    (r"head\.fc", "head"),
)
_RENAMED_IN_BACKBONE: Renaming = (
    (r"pos_embed", "pos_embed"),
    (r"patch_embed\.stem\.0", "stem.first.conv"),
    (r"patch_embed\.stem\.1", "stem.first.norm"),
    (r"patch_embed\.projection", "stem.proj"),
    (r"ln1", "norm"),
    (r"norm(\d+)", r"feature_norms.\1"),
)
_RENAMED_IN_BLOCK: Renaming = (
    # local block
    (r"norm1", "norm"),
    (r"norm2", "mlp.norm"),
    (r"attns\.0\.get_v", "attn.vertical.lepe"),
    (r"attns\.1\.get_v", "attn.horizontal.lepe"),
    (r"proj", "attn.proj"),
    (r"dw", "dwconv"),
    # group propagation block
    (r"group_token", "group_tokens"),
    (r"group_layer\.(norm_query|norm_key)", r"grouping.\1"),
    (r"group_layer\.attn\.k_proj", "grouping.key"),
    (r"mixer\.layers\.0\.norm1", "mixer.norm"),
    (r"mixer\.layers\.0\.norm2", "mixer.mix_channels.norm"),
    (r"mixer\.layers\.0\.patch_mixer\.0", "mixer.mix_groups.fc1"),
    (r"mixer\.layers\.0\.patch_mixer\.3", "mixer.mix_groups.fc2"),
    (r"mixer\.layers\.0\.channel_mixer\.0", "mixer.mix_channels.fc1"),
    (r"mixer\.layers\.0\.channel_mixer\.3", "mixer.mix_channels.fc2"),
    (r"un_group_layer\.(norm_query|norm_key)", r"ungrouping.\1"),
    (r"un_group_layer\.attn\.q_proj", "ungrouping.query"),
    (r"un_group_layer\.attn\.k_proj", "ungrouping.key"),
    (r"un_group_layer\.attn\.v_proj", "ungrouping.value"),
    (r"un_group_layer\.attn\.proj", "ungrouping.proj"),
    (r"un_group_layer\.proj", "ungrouping.fuse"),
    (r"un_group_layer\.norm2", "mlp.norm"),
    (r"dwconv\.0", "dwconv.conv"),
    (r"dwconv\.1", "dwconv.norm"),
    # both
    (r"(?:un_group_layer\.)?ffn\.layers\.0\.0", "mlp.fc1"),
    (r"(?:un_group_layer\.)?ffn\.layers\.1", "mlp.fc2"),
)


def convert_classifier(state_dict: Weights) -> Weights:
    """Give the tensors of an official classifier, or of a backbone alone, the names and shapes that they have here.

    Raises:
        ValueError: If an entry has no counterpart, or the position embedding is not of a square grid.
    """
    return convert_with_backbone(state_dict, "", lambda name: first_match(_RENAMED_IN_CLASSIFIER, name))


def convert_with_backbone(state_dict: Weights, prefix: str, rename: Callable[[str], str | None]) -> Weights:
    """Give the tensors of an official model the names and shapes that they have here.

    Args:
        state_dict: Entries of the model; those of the backbone begin with ``backbone.``.
        prefix: What the names of our backbone begin with.
        rename: Names the entries beside the backbone, and returns None for others.

    Raises:
        ValueError: If entries have no counterpart, all are listed; or the position embedding is of no square grid.
    """
    converted: Weights = {}
    unknown = []
    for name, tensor in state_dict.items():
        if qkv := re.fullmatch(r"backbone\.layers\.(\d+)\.qkv\.(weight|bias)", name):
            converted |= _divide_qkv(tensor, f"{prefix}blocks.{qkv[1]}.attn", qkv[2])
        elif new := rename(name):
            converted[new] = tensor
        elif name.startswith("backbone.") and (new := _rename(name.removeprefix("backbone."))):
            converted[prefix + new] = tensor
        else:
            unknown.append(name)
    if unknown:
        raise UserError(f"not an official GPViT checkpoint: no counterpart for {', '.join(unknown)}")
    if (name := f"{prefix}pos_embed") in converted:
        converted[name] = _square_grid(converted[name])
    return converted


def _rename(name: str) -> str | None:
    if block := re.match(r"layers\.(\d+)\.", name):
        return first_match(_RENAMED_IN_BLOCK, name[block.end() :], prefix=f"blocks.{block[1]}.")
    if conv := re.match(r"patch_embed\.convs\.(\d+)", name):  # conv, norm, ReLU, conv, norm, ReLU, ...
        stage, part = divmod(int(conv[1]), 3)
        return f"stem.extra.{stage}.{('conv', 'norm')[part]}{name[conv.end() :]}"
    return first_match(_RENAMED_IN_BACKBONE, name)


def _divide_qkv(tensor: torch.Tensor, prefix: str, leaf: str) -> Weights:
    """Divide ``(3C, *)`` into ``(3C/2, *)`` for each direction, which take half of each of q, k and v."""
    halves = tensor.unflatten(0, (3, 2, -1)).unbind(1)
    return {
        f"{prefix}.{way}.qkv.{leaf}": h.flatten(0, 1) for way, h in zip(("vertical", "horizontal"), halves, strict=True)
    }


def _square_grid(pos_embed: torch.Tensor) -> torch.Tensor:
    """Lay out ``(1, N, C)`` as ``(1, sqrt N, sqrt N, C)``; released embeddings are square (28x28)."""
    side = math.isqrt(pos_embed.shape[1])
    if side**2 != pos_embed.shape[1]:
        raise UserError(f"backbone.pos_embed has {pos_embed.shape[1]} tokens, which make no square grid")
    return pos_embed.unflatten(1, (side, side))
