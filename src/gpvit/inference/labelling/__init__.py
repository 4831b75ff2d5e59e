"""From a picture of any size to a label map of that size: what inference and evaluation have a segmenter do."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "label_maps": ["LabellingMethod"],
        "sliding_window": ["SlidingWindow"],
        "whole_image": ["WholeImage"],
    },
)
