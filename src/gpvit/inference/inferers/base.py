"""The two steps of labelling an image: what a loader process prepares, and what the network makes of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from gpvit.data.transforms.segmentation import SegmentationPreprocessing
from gpvit.models.segmenter import Segmenter


class Inferer:
    """Labels images with a segmenter, each at its own size."""

    def prepare(self, image: Image.Image, preprocessing: SegmentationPreprocessing) -> Any:
        """Compute what :meth:`label` needs of an RGB image: tensors, which a worker process can hand over."""
        raise NotImplementedError

    def label(
        self, model: Segmenter, prepared: Sequence[Any], preprocessing: SegmentationPreprocessing
    ) -> list[np.ndarray]:
        """Label images that :meth:`prepare` prepared, those of equal shape together.

        Args:
            model: In evaluation mode.
            prepared: What ``prepare`` returned for each image.
            preprocessing: The model's.

        Returns:
            Labels ``(height, width)`` of each image, uint8, or int32 for more than 255 classes.
        """
        raise NotImplementedError

    @torch.inference_mode()
    def __call__(self, model: Segmenter, image: Image.Image, preprocessing: SegmentationPreprocessing) -> np.ndarray:
        """Label one RGB image: ``(height, width)``, uint8, or int32 for more than 255 classes."""
        return self.label(model, [self.prepare(image, preprocessing)], preprocessing)[0]
