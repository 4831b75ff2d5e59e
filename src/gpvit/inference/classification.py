"""How a classifier predicts: a batch of images at once."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from gpvit.data.images import read_image
from gpvit.errors import UserError
from gpvit.inference.forward import forward_logits
from gpvit.inference.inferers.base import Inferer
from gpvit.inference.loading import Loaded
from gpvit.inference.metadata import class_names_of, preprocessing_of
from gpvit.inference.results.classification import ClassificationResult


class Classification:
    """Prepares images as a classifier's ``pretrained_cfg`` says, and classifies them.

    Args:
        model: In evaluation mode.
        inferer: None; inferers are for segmenters only.

    Raises:
        ValueError: If the model has no classifier, or an inferer is given.
    """

    batch_size = 16
    read = staticmethod(read_image)

    def __init__(self, model: nn.Module, inferer: Inferer | None = None) -> None:
        if not getattr(model, "num_classes", 0):
            raise UserError(f"{type(model).__name__} has no classifier; create it with num_classes above 0")
        if inferer is not None:
            raise UserError(f"{type(model).__name__} classifies; leave out {inferer}, which is for segmenters")
        self.model = model
        self.preprocessing = preprocessing_of(model)
        self.class_names = class_names_of(model)
        self.prepare = self.preprocessing.transform()

    def infer(self, sources: Sequence[Any], images: Sequence[Loaded]) -> list[ClassificationResult]:
        """Classify prepared images."""
        logits = forward_logits(self.model, torch.stack([image.inputs for image in images])).cpu()
        return [
            ClassificationResult(row, self.class_names, source, image.array)
            for row, source, image in zip(logits, sources, images, strict=True)
        ]
