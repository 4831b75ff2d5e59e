"""gpvit: high-resolution, non-hierarchical vision transformers.

Public names load on first use, so that importing this package costs nothing. timm learns the models whenever it is
imported, before or after this package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wrapt import when_imported

from gpvit.version import __version__

if TYPE_CHECKING:
    from gpvit.inference.predictor import Predictor
    from gpvit.layers.group_propagation import GroupMaps, GroupPropagationBlock
    from gpvit.layers.segmentation_heads import SegFormerHead, UPerNetHead
    from gpvit.models.adapter import ViTAdapter
    from gpvit.models.backbone import GPViT
    from gpvit.models.detection.mask_rcnn import MaskRCNN
    from gpvit.models.detection.retinanet import RetinaNet
    from gpvit.models.segmenter import Segmenter
    from gpvit.zoo.catalog import create_model
    from gpvit.zoo.files import load, save

_HOMES = {
    "GPViT": "gpvit.models.backbone",
    "GroupMaps": "gpvit.layers.group_propagation",
    "GroupPropagationBlock": "gpvit.layers.group_propagation",
    "MaskRCNN": "gpvit.models.detection.mask_rcnn",
    "Predictor": "gpvit.inference.predictor",
    "RetinaNet": "gpvit.models.detection.retinanet",
    "SegFormerHead": "gpvit.layers.segmentation_heads",
    "Segmenter": "gpvit.models.segmenter",
    "UPerNetHead": "gpvit.layers.segmentation_heads",
    "ViTAdapter": "gpvit.models.adapter",
    "create_model": "gpvit.zoo.catalog",
    "load": "gpvit.zoo.files",
    "save": "gpvit.zoo.files",
}

__all__ = [
    "GPViT",
    "GroupMaps",
    "GroupPropagationBlock",
    "MaskRCNN",
    "Predictor",
    "RetinaNet",
    "SegFormerHead",
    "Segmenter",
    "UPerNetHead",
    "ViTAdapter",
    "__version__",
    "create_model",
    "load",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gpvit' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


@when_imported("timm")
def _register_with_timm(_timm: Any) -> None:
    import_module("gpvit.zoo.timm_models")
    import_module("gpvit.models.baselines")
