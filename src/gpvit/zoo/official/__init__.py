"""The names of the authors' released checkpoints, turned into ours.

Their files hold ``{"meta": ..., "state_dict": ...}``, and every entry has its counterpart here.
"""

from gpvit.zoo.official.backbone import convert_classifier
from gpvit.zoo.official.detection import convert_detector
from gpvit.zoo.official.renaming import Weights
from gpvit.zoo.official.segmentation import convert_segmenter

RELEASE = "https://github.com/ChenhongyiYang/GPViT/releases/download/v0.0.1"


def is_official(state_dict: Weights) -> bool:
    """Tell whether these are the names of the authors' code."""
    return "backbone.patch_embed.projection.weight" in state_dict


def convert_official(state_dict: Weights) -> Weights:
    """Give the tensors of an official checkpoint the names and shapes that they have here.

    Raises:
        ValueError: If an entry has no counterpart, all such entries are listed; or if the position embedding is not
            of a square grid.
    """
    if any(name.startswith("decode_head.") for name in state_dict):
        return convert_segmenter(state_dict)
    if any(name.startswith("neck.lateral_convs.") for name in state_dict):
        return convert_detector(state_dict)
    return convert_classifier(state_dict)
