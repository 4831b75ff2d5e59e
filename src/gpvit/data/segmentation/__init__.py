"""Semantic segmentation, from files to batches: pictures with a class for each pixel."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "ade20k": ["ADE20K"],
        "classes": ["MaskClasses", "read_classes"],
        "stats": ["LabelReport", "label_report"],
        "digit_scenes": ["DigitScenes"],
        "drawing": ["draw_legend", "draw_overlay"],
        "folders": ["MaskFolder"],
        "masks": ["IGNORE", "read_mask"],
        "module": ["SegmentationData"],
        "samples": ["Pair"],
        "preview": ["preview_sheet"],
    },
)
