"""gpvit: high-resolution, non-hierarchical vision transformers.

Public names load on first use, so that importing this package costs nothing. timm learns the models whenever it is
imported, before or after this package.
"""

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gpvit.version import __version__ as __version__

if TYPE_CHECKING:
    from gpvit.inference.predictor import Predictor as Predictor
    from gpvit.inference.results.classification import ClassificationResult as ClassificationResult
    from gpvit.inference.results.detection import DetectionResult as DetectionResult
    from gpvit.inference.results.segmentation import SegmentationResult as SegmentationResult
    from gpvit.layers.group_propagation import GroupMaps as GroupMaps
    from gpvit.layers.group_propagation import GroupPropagationBlock as GroupPropagationBlock
    from gpvit.layers.segmentation_heads import SegFormerHead as SegFormerHead
    from gpvit.layers.segmentation_heads import UPerNetHead as UPerNetHead
    from gpvit.models.adapter import ViTAdapter as ViTAdapter
    from gpvit.models.backbone import GPViT as GPViT
    from gpvit.models.detection.mask_rcnn import MaskRCNN as MaskRCNN
    from gpvit.models.detection.retinanet import RetinaNet as RetinaNet
    from gpvit.models.segmenter import Segmenter as Segmenter
    from gpvit.zoo.factory import create_model as create_model
    from gpvit.zoo.factory import load as load
    from gpvit.zoo.files import save as save

_HOMES = {
    "ClassificationResult": "gpvit.inference.results.classification",
    "DetectionResult": "gpvit.inference.results.detection",
    "GPViT": "gpvit.models.backbone",
    "GroupMaps": "gpvit.layers.group_propagation",
    "GroupPropagationBlock": "gpvit.layers.group_propagation",
    "MaskRCNN": "gpvit.models.detection.mask_rcnn",
    "Predictor": "gpvit.inference.predictor",
    "RetinaNet": "gpvit.models.detection.retinanet",
    "SegFormerHead": "gpvit.layers.segmentation_heads",
    "SegmentationResult": "gpvit.inference.results.segmentation",
    "Segmenter": "gpvit.models.segmenter",
    "UPerNetHead": "gpvit.layers.segmentation_heads",
    "ViTAdapter": "gpvit.models.adapter",
    "create_model": "gpvit.zoo.factory",
    "load": "gpvit.zoo.factory",
    "save": "gpvit.zoo.files",
}

__all__ = sorted(["__version__", *_HOMES])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gpvit' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


class _RegistersWithTimm:
    """Lets timm's import end with the registration of our models."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "timm":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next((found for finder in others if (found := finder.find_spec(name, path, target))), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                sys.meta_path.remove(self)
                import_module("gpvit.zoo.timm_models")

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


if "timm" in sys.modules:
    import_module("gpvit.zoo.timm_models")
else:
    sys.meta_path.insert(0, _RegistersWithTimm())
