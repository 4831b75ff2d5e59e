"""The names of the authors' released checkpoints, turned into ours.

Their files hold ``{"meta": ..., "state_dict": ...}``, and every entry has its counterpart here. What changes beside the
names: the position embedding is laid out as a grid, the queries, keys and values of a local block are divided between
its two directions, and the class logits of Mask R-CNN begin with the background, with which theirs end.
"""

import math
import re
from collections.abc import Callable

import torch

from gpvit.errors import UserError

Weights = dict[str, torch.Tensor]
Renaming = tuple[tuple[str, str], ...]
"""Patterns of names without their last part, tried in this order, and what takes their place."""

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
_RENAMED_IN_SEGMENTER: Renaming = (
    # UPerNet
    (r"decode_head\.psp_modules\.(\d+)\.1", r"decoder.pooled.\1"),
    (r"decode_head\.bottleneck", "decoder.bottleneck"),
    (r"decode_head\.lateral_convs\.(\d+)", r"decoder.laterals.\1"),
    (r"decode_head\.fpn_convs\.(\d+)", r"decoder.smooth.\1"),
    (r"decode_head\.fpn_bottleneck", "decoder.fuse"),
    (r"auxiliary_head\.convs\.0", "auxiliary.conv"),
    (r"auxiliary_head\.conv_seg", "auxiliary.classifier"),
    # SegFormer
    (r"decode_head\.convs\.(\d+)", r"decoder.project.\1"),
    (r"decode_head\.fusion_conv", "decoder.fuse"),
    # both
    (r"decode_head\.conv_seg", "decoder.classifier"),
)
_RENAMED_IN_DETECTOR: Renaming = (
    (r"neck\.lateral_convs\.(\d+)", r"backbone.fpn.inner_blocks.\1"),
    (r"neck\.fpn_convs\.(\d+)", r"backbone.fpn.layer_blocks.\1"),
    (r"neck\.extra_convs\.(\d+)", r"backbone.fpn.extra_blocks.convs.\1"),
    # Mask R-CNN
    (r"rpn_head\.rpn_conv", "rpn.head.conv.0.0"),
    (r"rpn_head\.rpn_cls", "rpn.head.cls_logits"),
    (r"rpn_head\.rpn_reg", "rpn.head.bbox_pred"),
    (r"roi_head\.bbox_head\.shared_convs\.(\d+)", r"roi_heads.box_head.\1"),
    (r"roi_head\.bbox_head\.shared_fcs\.0", "roi_heads.box_head.5"),
    (r"roi_head\.bbox_head\.fc_cls", "roi_heads.box_predictor.cls_score"),
    (r"roi_head\.bbox_head\.fc_reg", "roi_heads.box_predictor.bbox_pred"),
    (r"roi_head\.mask_head\.convs\.(\d+)", r"roi_heads.mask_head.\1"),
    (r"roi_head\.mask_head\.upsample", "roi_heads.mask_predictor.conv5_mask"),
    (r"roi_head\.mask_head\.conv_logits", "roi_heads.mask_predictor.mask_fcn_logits"),
    # RetinaNet
    (r"bbox_head\.cls_convs\.(\d+)", r"head.classification_head.conv.\1"),
    (r"bbox_head\.reg_convs\.(\d+)", r"head.regression_head.conv.\1"),
    (r"bbox_head\.retina_cls", "head.classification_head.cls_logits"),
    (r"bbox_head\.retina_reg", "head.regression_head.bbox_reg"),
)
_RENAMED_IN_ADAPTER: Renaming = (
    (r"level_embed", "level_embed"),
    (r"up", "upsample"),
    (r"spm\.stem\.0", "spatial_prior.stem.0.conv"),
    (r"spm\.stem\.1", "spatial_prior.stem.0.norm"),
    (r"spm\.stem\.3", "spatial_prior.stem.1.conv"),
    (r"spm\.stem\.4", "spatial_prior.stem.1.norm"),
    (r"spm\.stem\.6", "spatial_prior.stem.2.conv"),
    (r"spm\.stem\.7", "spatial_prior.stem.2.norm"),
    # by stride
    (r"spm\.conv(\d+)\.0", r"spatial_prior.down.\1.conv"),
    (r"spm\.conv(\d+)\.1", r"spatial_prior.down.\1.norm"),
    (r"spm\.fc(\d+)", r"spatial_prior.proj.\1"),
    (r"ad_norm(\d+)", r"norms.\1"),
)
_RENAMED_IN_INTERACTION: Renaming = (
    (r"gamma", "gamma"),
    (r"query_norm", "norm_query"),
    (r"feat_norm", "norm_key"),
    (r"attn\.sampling_offsets", "attn.offsets"),
    (r"attn\.attention_weights", "attn.weights"),
    (r"attn\.value_proj", "attn.value"),
    (r"attn\.output_proj", "attn.proj"),
    (r"ffn_norm", "mlp.norm"),
    (r"ffn\.(fc1|fc2)", r"mlp.\1"),
    (r"ffn\.dwconv\.dwconv", "mlp.conv"),
)

_LEAF = r"((?:\.conv|\.bn)?(?:\.(?:weight|bias|running_mean|running_var|num_batches_tracked))?)$"
_LEVELS = r"neck\.lateral_convs\.(\d+)\.conv\.weight"
_BACKGROUND_LAST = re.compile(r"roi_head\.bbox_head\.fc_cls\.(?:weight|bias)")
_PART = {"conv": "0", "norm": "1"}  # torchvision's names of a convolution and of the norm after it


def is_official(state_dict: Weights) -> bool:
    """Tell whether these are the names of the authors' code."""
    return "backbone.patch_embed.projection.weight" in state_dict


def convert_official(state_dict: Weights) -> Weights:
    """Give the tensors of an official checkpoint the names and shapes that they have here.

    Raises:
        ValueError: If entries have no counterpart, all are listed; or if the position embedding is of no square grid.
    """
    if any(name.startswith("decode_head.") for name in state_dict):
        # timm's wrapper for features holds the backbone as its model
        return convert_with_backbone(state_dict, "backbone.model.", lambda name: _match(_RENAMED_IN_SEGMENTER, name))
    levels = sum(re.fullmatch(_LEVELS, name) is not None for name in state_dict)
    if not levels:
        return convert_with_backbone(state_dict, "", lambda name: _match(_RENAMED_IN_CLASSIFIER, name))
    ordered = {n: tensor.roll(1, 0) if _BACKGROUND_LAST.fullmatch(n) else tensor for n, tensor in state_dict.items()}
    return convert_with_backbone(ordered, "backbone.body.backbone.", lambda name: _rename_in_detector(name, levels))


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
        elif name.startswith("backbone.") and (new := _rename_in_backbone(name.removeprefix("backbone."))):
            converted[prefix + new] = tensor
        else:
            unknown.append(name)
    if unknown:
        raise UserError(f"is no official GPViT checkpoint: no counterpart for {', '.join(unknown)}")
    if (name := f"{prefix}pos_embed") in converted:
        converted[name] = _square_grid(converted[name])
    return converted


def rename_in_adapter(name: str) -> str | None:
    """Give an entry beside the transformer its name in a ``ViTAdapter``; None for one of the transformer."""
    name = name.removeprefix("backbone.")
    if part := re.match(r"interactions\.(\d+)\.(injector|extractor|extra_extractors\.(\d+))\.", name):
        # Their extra extractors belong to the last interaction; ours follow the others in one list.
        place = int(part[1]) + (int(part[3]) + 1 if part[3] else 0)
        kind = "injectors" if part[2] == "injector" else "extractors"
        return _match(_RENAMED_IN_INTERACTION, name[part.end() :], prefix=f"{kind}.{place}.")
    # Theirs are numbered from fine to coarse, ours named by the stride.
    name = re.sub(r"^(spm\.conv|spm\.fc|ad_norm)(\d)", lambda part: f"{part[1]}{2 ** (int(part[2]) + 1)}", name)
    return _match(_RENAMED_IN_ADAPTER, name)


def _rename_in_detector(name: str, levels: int) -> str | None:
    """Give an entry its name here; of the pyramid's convolutions those after the backbone's levels are extra."""
    if in_adapter := rename_in_adapter(name):
        return f"backbone.body.{in_adapter}"
    if (conv := re.match(r"neck\.fpn_convs\.(\d+)", name)) and int(conv[1]) >= levels:
        name = f"neck.extra_convs.{int(conv[1]) - levels}{name[conv.end() :]}"
    new = _match(_RENAMED_IN_DETECTOR, name)
    return new and re.sub(r"\.(conv|norm)(\.\w+)$", lambda part: f".{_PART[part[1]]}{part[2]}", new)


def _rename_in_backbone(name: str) -> str | None:
    if block := re.match(r"layers\.(\d+)\.", name):
        return _match(_RENAMED_IN_BLOCK, name[block.end() :], prefix=f"blocks.{block[1]}.")
    if conv := re.match(r"patch_embed\.convs\.(\d+)", name):  # conv, norm, ReLU, conv, norm, ReLU, ...
        stage, part = divmod(int(conv[1]), 3)
        return f"stem.extra.{stage}.{('conv', 'norm')[part]}{name[conv.end() :]}"
    return _match(_RENAMED_IN_BACKBONE, name)


def _divide_qkv(tensor: torch.Tensor, prefix: str, leaf: str) -> Weights:
    """Divide ``(3C, *)`` into ``(3C/2, *)`` for each direction, which take half of each of q, k and v."""
    halves = tensor.unflatten(0, (3, 2, -1)).unbind(1)
    return {
        f"{prefix}.{way}.qkv.{leaf}": h.flatten(0, 1) for way, h in zip(("vertical", "horizontal"), halves, strict=True)
    }


def _match(table: Renaming, name: str, prefix: str = "") -> str | None:
    """Rename by the first pattern that fits, None if none does; what the authors call ``bn`` is ``norm`` here."""
    for pattern, replacement in table:
        if match := re.match(pattern + _LEAF, name):
            return prefix + match.expand(replacement) + match[match.re.groups].replace(".bn.", ".norm.")
    return None


def _square_grid(pos_embed: torch.Tensor) -> torch.Tensor:
    """Lay out ``(1, N, C)`` as ``(1, sqrt N, sqrt N, C)``; released embeddings are square (28x28)."""
    side = math.isqrt(pos_embed.shape[1])
    if side**2 != pos_embed.shape[1]:
        raise UserError(f"has {pos_embed.shape[1]} tokens in backbone.pos_embed, which make no square grid")
    return pos_embed.unflatten(1, (side, side))
