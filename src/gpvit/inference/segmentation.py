"""How a segmenter answers: one picture at a time, each of its own size."""

from collections.abc import Sequence
from typing import cast

from PIL import Image
from torch import nn

from gpvit.data.images import ImageSource
from gpvit.errors import UserError
from gpvit.inference.labelling import LabellingMethod, WholeImage
from gpvit.inference.metadata import class_colors_of, class_names_of, segmentation_preprocessing_of
from gpvit.inference.results.segmentation import SegmentationResult
from gpvit.models.segmenter import Segmenter


class Segmentation:
    """Has a segmenter label pictures.

    Args:
        model: In evaluation mode.
        batch_size: None; pictures differ in size.
        method: How to label a picture; the whole of it at once by default.

    Raises:
        ValueError: If a batch size is given.
    """

    batch_size = 1

    def __init__(self, model: nn.Module, batch_size: int | None = None, method: LabellingMethod | None = None) -> None:
        if batch_size is not None:
            raise UserError(
                f"{type(model).__name__} labels one picture at a time; leave out batch_size {batch_size}, which is for "
                "classifiers"
            )
        self.model = cast(Segmenter, model)
        self.method = method or WholeImage()
        self.preprocessing = segmentation_preprocessing_of(model)
        self.class_names = class_names_of(model)
        self.colors = class_colors_of(model)

    def prepare(self, picture: Image.Image) -> Image.Image:
        """Leave a picture as it is; the method cuts and resizes it."""
        return picture

    def answer(self, prepared: Sequence[Image.Image], sources: Sequence[ImageSource]) -> list[SegmentationResult]:
        """Label pictures."""
        return [
            SegmentationResult(
                self.method(self.model, picture, self.preprocessing), self.class_names, self.colors, source
            )
            for picture, source in zip(prepared, sources, strict=True)
        ]
