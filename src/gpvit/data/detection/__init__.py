"""Object detection and instance segmentation, from files to batches: images with boxes, labels and masks."""

from gpvit import lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "Annotations": ".annotations",
        "read_annotations": ".annotations",
        "Categories": ".categories",
        "COCO": ".coco",
        "CocoFolder": ".coco",
        "DigitScenes": ".digit_scenes",
        "DetectionData": ".module",
        "Sample": ".module",
        "coco_results": ".results",
        "write_coco_results": ".results",
    },
)
