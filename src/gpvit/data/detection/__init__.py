"""Object detection and instance segmentation, from files to batches: images with boxes, labels and masks."""

from gpvit import lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "Annotations": ".annotations",
        "read_annotations": ".coco",
        "Categories": ".categories",
        "COCO": ".folders",
        "CocoFolder": ".folders",
        "ObjectFolder": ".folders",
        "VOCFolder": ".folders",
        "YOLOFolder": ".folders",
        "DigitScenes": ".digit_scenes",
        "DetectionData": ".module",
        "Sample": ".module",
        "coco_results": ".results",
        "write_coco_results": ".results",
    },
)
