"""Semantic segmentation, from files to batches: images with a class for each pixel."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "classes": ["MaskClasses", "read_classes"],
        "folders": ["ADE20K", "MaskFolder"],
        "masks": ["IGNORE", "read_mask"],
        "module": ["Sample", "SegmentationData"],
        "scenes": ["DigitScenes"],
    },
)
