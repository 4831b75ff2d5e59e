"""The names of the authors' released detectors, turned into ours.

Every entry has its counterpart here. Only the class logits of Mask R-CNN are in another order: theirs end with the
background, ours begin with it.
"""

import re

from gpvit.zoo.official.adapter import rename_in_adapter
from gpvit.zoo.official.backbone import convert_with_backbone
from gpvit.zoo.official.renaming import Renaming, Weights, first_match

_LEVELS = r"neck\.lateral_convs\.(\d+)\.conv\.weight"
_BACKGROUND_LAST = re.compile(r"roi_head\.bbox_head\.fc_cls\.(?:weight|bias)")

_RENAMED: Renaming = (
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
_PART = {"conv": "0", "norm": "1"}  # torchvision's names of a convolution and of the norm after it


def convert_detector(state_dict: Weights) -> Weights:
    """Give the tensors of an official detector the names and shapes that they have in ours.

    Raises:
        ValueError: If an entry has no counterpart; all such entries are listed.
    """
    levels = sum(re.fullmatch(_LEVELS, name) is not None for name in state_dict)
    ordered = {n: tensor.roll(1, 0) if _BACKGROUND_LAST.fullmatch(n) else tensor for n, tensor in state_dict.items()}
    return convert_with_backbone(ordered, "backbone.body.backbone.", lambda name: _rename(name, levels))


def _rename(name: str, levels: int) -> str | None:
    """Give an entry its name here; of the pyramid's convolutions those after the backbone's levels are extra."""
    if in_adapter := rename_in_adapter(name):
        return f"backbone.body.{in_adapter}"
    if (conv := re.match(r"neck\.fpn_convs\.(\d+)", name)) and int(conv[1]) >= levels:
        name = f"neck.extra_convs.{int(conv[1]) - levels}{name[conv.end() :]}"
    new = first_match(_RENAMED, name)
    return new and re.sub(r"\.(conv|norm)(\.\w+)$", lambda part: f".{_PART[part[1]]}{part[2]}", new)
