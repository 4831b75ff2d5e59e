"""The names of the authors' segmentation models, turned into ours."""

from gpvit.zoo.official.backbone import convert_with_backbone
from gpvit.zoo.official.renaming import Renaming, Weights, first_match

_RENAMED: Renaming = (
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


def convert_segmenter(state_dict: Weights) -> Weights:
    """Give the tensors of an official segmentation model the names and shapes of a ``Segmenter``.

    Raises:
        ValueError: If an entry has no counterpart; all such entries are listed.
    """
    # timm's wrapper for features holds the backbone as its model
    return convert_with_backbone(state_dict, "backbone.model.", lambda name: first_match(_RENAMED, name))
