"""Object detection and instance segmentation, from files to batches: pictures with boxes, labels and masks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "annotations": ["Annotations", "read_annotations"],
        "categories": ["Categories"],
        "stats": ["BoxReport", "box_report"],
        "coco": ["COCO", "CocoFolder"],
        "digit_scenes": ["DigitScenes"],
        "module": ["DetectionData"],
        "preview": ["preview_sheet"],
        "results": ["coco_results", "write_coco_results"],
    },
)
