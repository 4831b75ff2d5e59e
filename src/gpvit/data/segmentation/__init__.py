"""Semantic segmentation, from files to batches: images with a class for each pixel."""

from gpvit import lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "MaskClasses": ".classes",
        "read_classes": ".classes",
        "ADE20K": ".folders",
        "MaskFolder": ".folders",
        "IGNORE": ".masks",
        "read_mask": ".masks",
        "Sample": ".module",
        "SegmentationData": ".module",
        "DigitScenes": ".scenes",
    },
)
