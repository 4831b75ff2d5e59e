"""The names of the authors' released detectors, turned into ours.

Every entry has its counterpart here. Only the class logits of Mask R-CNN are in another order: theirs end with the
background, ours begin with it.
"""

import re

import torch

from gpvit.models.official_adapter import convert_adapter

_LEVELS = r"neck\.lateral_convs\.(\d+)\.conv\.weight"
_BACKGROUND_LAST = re.compile(r"roi_head\.bbox_head\.fc_cls\.(?:weight|bias)")

# Tried in this order; a group's number stands for what it matched. Convolution and batch norm are `conv` and `bn`
# there, 0 and 1 here.
_RENAMED: tuple[tuple[str, str], ...] = (
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
_LEAF = r"(?:\.(conv|bn))?(\.(?:weight|bias|running_mean|running_var|num_batches_tracked))$"
_PART = {None: "", "conv": ".0", "bn": ".1"}


def is_official_detector(state_dict: dict[str, torch.Tensor]) -> bool:
    """Tell whether these are the names of a detector of the authors."""
    return "neck.lateral_convs.0.conv.weight" in state_dict


def convert_official_detector(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give the tensors of an official detector the names and shapes that they have in ours.

    Raises:
        ValueError: If an entry has no counterpart; all such entries are listed.
    """
    levels = sum(re.fullmatch(_LEVELS, name) is not None for name in state_dict)
    backbone, converted, unknown = {}, {}, []
    for name, tensor in state_dict.items():
        if name.startswith("backbone."):
            backbone[name] = tensor
        elif new := _rename(name, levels):
            converted[new] = tensor.roll(1, 0) if _BACKGROUND_LAST.fullmatch(name) else tensor
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(f"not an official GPViT detector: no counterpart for {', '.join(unknown)}")
    body = convert_adapter(backbone)
    return {**{f"backbone.body.{name}": tensor for name, tensor in body.items()}, **converted}


def _rename(name: str, levels: int) -> str | None:
    """Give an entry its name here; of the pyramid's convolutions those after the backbone's levels are extra."""
    if (conv := re.match(r"neck\.fpn_convs\.(\d+)", name)) and int(conv[1]) >= levels:
        name = f"neck.extra_convs.{int(conv[1]) - levels}{name[conv.end() :]}"
    for pattern, replacement in _RENAMED:
        if match := re.match(pattern + _LEAF, name):
            part, leaf = match.groups()[-2:]
            return match.expand(replacement) + _PART[part] + leaf
    return None
