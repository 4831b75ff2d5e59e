"""The names of the authors' released checkpoints, turned into ours.

Their files hold ``{"meta": ..., "state_dict": ...}``. Every entry has exactly one counterpart here, and only the
position embedding changes its shape.
"""

import math
import re

import torch

RELEASE = "https://github.com/ChenhongyiYang/GPViT/releases/download/v0.0.1"

# Alternated in this order; a group's number stands for what it matched.
_RENAMED: tuple[tuple[str, str], ...] = (
    (r"backbone\.pos_embed", "pos_embed"),
    (r"backbone\.patch_embed\.stem\.0", "stem.conv"),
    (r"backbone\.patch_embed\.stem\.1", "stem.norm"),
    (r"backbone\.patch_embed\.projection", "stem.proj"),
    (r"backbone\.ln1", "norm"),
    (r"backbone\.norm(\d+)", r"tap_norms.\1"),
    (r"neck\.group_token", "pool.token"),
    (r"neck\.norm_query", "pool.norm"),
    (r"neck\.attn\.k_proj", "pool.key"),
    (r"head\.fc", "head"),
)
_RENAMED_IN_BLOCK: tuple[tuple[str, str], ...] = (
    # local block
    (r"norm1", "norm"),
    (r"norm2", "mlp.norm"),
    (r"(qkv|proj)", r"attn.\1"),
    (r"attns\.(\d)\.get_v", r"attn.lepe.\1"),
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
    (r"dwconv\.0", "dwconv"),
    (r"dwconv\.1", "bn"),
    # both
    (r"(?:un_group_layer\.)?ffn\.layers\.0\.0", "mlp.fc1"),
    (r"(?:un_group_layer\.)?ffn\.layers\.1", "mlp.fc2"),
)
_LEAF = r"(\.(?:weight|bias|running_mean|running_var|num_batches_tracked))?$"


def is_official(state_dict: dict[str, torch.Tensor]) -> bool:
    """Tell whether these are the names of the authors' code."""
    return "backbone.patch_embed.projection.weight" in state_dict


def convert_official(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the entries of an official checkpoint and lay its position embedding out as a grid.

    Raises:
        ValueError: If an entry has no counterpart; all such entries are listed.
    """
    names = {name: _rename(name) for name in state_dict}
    if unknown := [name for name, new in names.items() if new is None]:
        raise ValueError(f"not an official GPViT checkpoint: no counterpart for {', '.join(unknown)}")
    converted = {new: state_dict[name] for name, new in names.items() if new is not None}
    converted["pos_embed"] = _square_grid(converted["pos_embed"])
    return converted


def _rename(name: str) -> str | None:
    if block := re.match(r"backbone\.layers\.(\d+)\.", name):
        return _first(_RENAMED_IN_BLOCK, name[block.end() :], prefix=f"blocks.{block[1]}.")
    if conv := re.match(r"backbone\.patch_embed\.convs\.(\d+)", name):  # conv, norm, ReLU, conv, norm, ReLU, ...
        stage, part = divmod(int(conv[1]), 3)
        return f"stem.extra.{stage}.{part}{name[conv.end() :]}"
    return _first(_RENAMED, name)


def _first(table: tuple[tuple[str, str], ...], name: str, prefix: str = "") -> str | None:
    for pattern, replacement in table:
        if match := re.match(pattern + _LEAF, name):
            return prefix + match.expand(replacement) + (match[match.re.groups] or "")
    return None


def _square_grid(pos_embed: torch.Tensor) -> torch.Tensor:
    """Lay out ``(1, N, C)`` as ``(1, sqrt N, sqrt N, C)``; released embeddings are square (28x28)."""
    side = math.isqrt(pos_embed.shape[1])
    return pos_embed.unflatten(1, (side, side))
