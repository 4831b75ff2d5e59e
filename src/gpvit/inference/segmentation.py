"""How a segmenter predicts: each image at its own size."""

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Any, cast

from PIL import Image
from torch import nn

from gpvit.data.transforms.segmentation import SegmentationPreprocessing
from gpvit.inference.inferers import Inferer, SlidingWindow, WholeImage
from gpvit.inference.loading import Loaded, read_large_image
from gpvit.inference.metadata import class_colors_of, class_names_of, segmentation_preprocessing_of
from gpvit.inference.results.segmentation import SegmentationResult
from gpvit.models.segmenter import Segmenter

LARGEST_WHOLE = 178_956_970
"""Pixels of the largest image that is labelled whole, Pillow's limit; larger ones are labelled by windows."""


class Segmentation:
    """Labels images with a segmenter; those of a batch that are of one size go through it together.

    Args:
        model: In evaluation mode.
        inferer: How to label an image; the whole image at once by default.
    """

    batch_size = 1
    read = staticmethod(read_large_image)

    def __init__(self, model: nn.Module, inferer: Inferer | None = None) -> None:
        self.model = cast(Segmenter, model)
        self.preprocessing = segmentation_preprocessing_of(model)
        self.class_names = class_names_of(model)
        self.colors = class_colors_of(model)
        self.prepare = partial(_prepare, inferer=inferer or WholeImage(), preprocessing=self.preprocessing)

    def infer(self, sources: Sequence[Any], images: Sequence[Loaded]) -> list[SegmentationResult]:
        """Label prepared images."""
        labels = [
            each
            for inferer, group in groupby((image.inputs for image in images), lambda inputs: inputs[0])
            for each in inferer.label(self.model, [prepared for _, prepared in group], self.preprocessing)
        ]
        return [
            SegmentationResult(each, self.class_names, self.colors, source, image.array)
            for each, source, image in zip(labels, sources, images, strict=True)
        ]


def _prepare(image: Image.Image, inferer: Inferer, preprocessing: SegmentationPreprocessing) -> tuple[Inferer, Any]:
    """Prepare an image for its inferer, and say which that is."""
    if image.width * image.height > LARGEST_WHOLE and not isinstance(inferer, SlidingWindow):
        inferer = SlidingWindow()
    return inferer, inferer.prepare(image, preprocessing)
