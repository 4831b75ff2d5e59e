"""Segmentation data made on the spot."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from gpvit.data.segmentation import Sample, SegmentationData
from gpvit.data.transforms.segmentation import SegmentationAugmentation, SegmentationPreprocessing


class Patches(SegmentationData):
    """Pictures of coloured quarters, whose class is the colour; the lower right quarter is not labelled."""

    def __init__(self, num_classes: int = 3, channels: int = 3, images: int = 4, size: tuple[int, int] = (70, 50)):
        grey = channels * (0.5,)
        super().__init__(
            [f"class {i}" for i in range(num_classes)],
            SegmentationPreprocessing((channels, 64, 64), grey, grey, max_size=None),
            SegmentationAugmentation((1, 1), max_class_share=1, photometric=False),
            batch_size=2,
            num_workers=0,
        )
        self.images, self.size = images, size

    def samples(self, split: str) -> Sequence[Sample]:
        height, width = self.size
        shades = np.linspace(0, 255, self.num_classes).astype(np.uint8)
        samples = []
        for i in range(self.images):
            mask = np.full((height, width), i % self.num_classes, np.uint8)
            mask[: height // 2, : width // 2] = (i + 1) % self.num_classes
            picture = Image.fromarray(shades[mask]).convert("RGB")
            mask[height // 2 :, width // 2 :] = 255
            samples.append(Sample(str(i), picture, mask))
        return samples
