"""The names of the authors' released checkpoints, turned into ours.

Their files hold ``{"meta": ..., "state_dict": ...}``. Every entry has its counterpart here; the position embedding
is laid out as a grid, and the queries, keys and values of a local block are divided between its two directions.
"""

import math
import re

import torch

RELEASE = "https://github.com/ChenhongyiYang/GPViT/releases/download/v0.0.1"

# Alternated in this order; a group's number stands for what it matched.
_RENAMED: tuple[tuple[str, str], ...] = (
    (r"neck\.group_token", "pool.token"),
    (r"neck\.norm_query", "pool.norm"),
    (r"neck\.attn\.k_proj", "pool.key"),
    (r"head\.fc", "head"),
    # segmentation; a convolution and its batch norm are `conv` and `bn` there
    (r"decode_head\.psp_modules\.(\d+)\.1", r"decoder.pooled.\1"),
    (r"decode_head\.bottleneck", "decoder.bottleneck"),
    (r"decode_head\.lateral_convs\.(\d+)", r"decoder.laterals.\1"),
    (r"decode_head\.fpn_convs\.(\d+)", r"decoder.smooth.\1"),
    (r"decode_head\.fpn_bottleneck", "decoder.fuse"),
    (r"decode_head\.convs\.(\d+)", r"decoder.project.\1"),
    (r"decode_head\.fusion_conv", "decoder.fuse"),
    (r"decode_head\.conv_seg", "decoder.classifier"),
    (r"auxiliary_head\.convs\.0", "auxiliary.conv"),
    (r"auxiliary_head\.conv_seg", "auxiliary.classifier"),
)
_RENAMED_IN_BACKBONE: tuple[tuple[str, str], ...] = (
    (r"pos_embed", "pos_embed"),
    (r"patch_embed\.stem\.0", "stem.first.conv"),
    (r"patch_embed\.stem\.1", "stem.first.norm"),
    (r"patch_embed\.projection", "stem.proj"),
    (r"ln1", "norm"),
    (r"norm(\d+)", r"tap_norms.\1"),
)
_RENAMED_IN_BLOCK: tuple[tuple[str, str], ...] = (
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
_LEAF = r"((?:\.conv|\.bn)?(?:\.(?:weight|bias|running_mean|running_var|num_batches_tracked))?)$"


def is_official(state_dict: dict[str, torch.Tensor]) -> bool:
    """Tell whether these are the names of the authors' code."""
    return "backbone.patch_embed.projection.weight" in state_dict


def convert_official(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give the tensors of an official checkpoint the names and shapes that they have here.

    Raises:
        ValueError: If an entry has no counterpart, all such entries are listed; or if the position embedding is not
            of a square grid.
    """
    converted: dict[str, torch.Tensor] = {}
    unknown = []
    # A model on a backbone holds it inside timm's wrapper for features.
    backbone = "backbone.model." if any(name.startswith("decode_head.") for name in state_dict) else ""
    for name, tensor in state_dict.items():
        if qkv := re.fullmatch(r"backbone\.layers\.(\d+)\.qkv\.(weight|bias)", name):
            converted |= _divide_qkv(tensor, f"{backbone}blocks.{qkv[1]}.attn", qkv[2])
        elif new := _rename(name, backbone):
            converted[new] = tensor
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(f"not an official GPViT checkpoint: no counterpart for {', '.join(unknown)}")
    if (name := f"{backbone}pos_embed") in converted:
        converted[name] = _square_grid(converted[name])
    return converted


def _rename(name: str, backbone: str) -> str | None:
    """Give an entry its name here; a backbone's entries start with ``backbone``."""
    if block := re.match(r"backbone\.layers\.(\d+)\.", name):
        return _first(_RENAMED_IN_BLOCK, name[block.end() :], prefix=f"{backbone}blocks.{block[1]}.")
    if conv := re.match(r"backbone\.patch_embed\.convs\.(\d+)", name):  # conv, norm, ReLU, conv, norm, ReLU, ...
        stage, part = divmod(int(conv[1]), 3)
        return f"{backbone}stem.extra.{stage}.{('conv', 'norm')[part]}{name[conv.end() :]}"
    if name.startswith("backbone."):
        return _first(_RENAMED_IN_BACKBONE, name.removeprefix("backbone."), prefix=backbone)
    return _first(_RENAMED, name)


def _first(table: tuple[tuple[str, str], ...], name: str, prefix: str = "") -> str | None:
    for pattern, replacement in table:
        if match := re.match(pattern + _LEAF, name):
            return prefix + match.expand(replacement) + match[match.re.groups].replace(".bn.", ".norm.")
    return None


def _divide_qkv(tensor: torch.Tensor, prefix: str, leaf: str) -> dict[str, torch.Tensor]:
    """Divide ``(3C, *)`` into ``(3C/2, *)`` for each direction, which take half of each of q, k and v."""
    halves = tensor.unflatten(0, (3, 2, -1)).unbind(1)
    return {
        f"{prefix}.{way}.qkv.{leaf}": h.flatten(0, 1) for way, h in zip(("vertical", "horizontal"), halves, strict=True)
    }


def _square_grid(pos_embed: torch.Tensor) -> torch.Tensor:
    """Lay out ``(1, N, C)`` as ``(1, sqrt N, sqrt N, C)``; released embeddings are square (28x28)."""
    side = math.isqrt(pos_embed.shape[1])
    if side**2 != pos_embed.shape[1]:
        raise ValueError(f"backbone.pos_embed has {pos_embed.shape[1]} tokens, which make no square grid")
    return pos_embed.unflatten(1, (side, side))
