"""Object detection and instance segmentation, from files to batches: images with boxes, labels and masks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "annotations": ["Annotations"],
        "categories": ["Categories"],
        "coco": ["read_annotations"],
        "digit_scenes": ["DigitScenes"],
        "folders": ["COCO", "CocoFolder", "ObjectFolder", "VOCFolder", "YOLOFolder"],
        "module": ["DetectionData", "Sample"],
        "results": ["coco_results", "write_coco_results"],
    },
)
