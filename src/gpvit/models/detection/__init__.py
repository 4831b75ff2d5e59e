"""Object detection and instance segmentation: Mask R-CNN and RetinaNet, from torchvision's parts where these fit."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"detector": ["Detector"], "mask_rcnn": ["MaskRCNN"], "retinanet": ["RetinaNet"]}
)
