"""Segmenters whose logits are known functions of the photo."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from gpvit.data.transforms.segmentation import SegmentationPreprocessing


class PooledSegmenter(nn.Module):
    """Logits that are a linear map of the mean colour of a cell, so that a cell knows nothing of its surroundings."""

    def __init__(self, num_classes: int, stride: int):
        super().__init__()
        self.num_classes, self.stride = num_classes, stride
        self.classify = nn.Conv2d(3, num_classes, 1)

    def forward_low(self, images: torch.Tensor) -> torch.Tensor:
        return self.classify(F.avg_pool2d(images, self.stride))


@pytest.fixture
def pooled_segmenter() -> Callable[[int, int], PooledSegmenter]:
    return PooledSegmenter


@pytest.fixture
def noise_image() -> Callable[[int, int], Image.Image]:
    def make(height: int, width: int) -> Image.Image:
        """Blotches a few pixels wide, different for every size."""
        rng = np.random.default_rng(height * 10_007 + width)
        blotches = Image.fromarray(rng.integers(0, 256, (-(-height // 5), -(-width // 5), 3), np.uint8))
        return blotches.resize((width, height))

    return make


@pytest.fixture
def own_size() -> SegmentationPreprocessing:
    return SegmentationPreprocessing(max_size=None, size_divisor=8)


@pytest.fixture
def assert_same_labels() -> Callable[[np.ndarray, torch.Tensor], None]:
    def check(labels: np.ndarray, scores: torch.Tensor) -> None:
        """Compare labels with those of scores (K, H, W), where these are not as good as tied."""
        assert labels.shape == scores.shape[1:]
        best, second = scores.topk(2, dim=0).values
        clear = (best - second > 1e-5).numpy()
        assert clear.mean() > 0.95
        assert (labels == scores.argmax(0).numpy())[clear].all()

    return check
