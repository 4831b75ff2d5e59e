"""How a classifier answers: a batch of pictures at once."""

from collections.abc import Sequence

import torch
from torch import nn

from gpvit.data.images import ImageSource
from gpvit.errors import UserError
from gpvit.inference.forward import ask
from gpvit.inference.labelling import LabellingMethod
from gpvit.inference.metadata import class_names_of, preprocessing_of
from gpvit.inference.results.classification import ClassificationResult

_BATCH_SIZE = 16


class Classification:
    """Prepares pictures as a classifier's ``pretrained_cfg`` says, and asks it.

    Args:
        model: In evaluation mode.
        batch_size: Pictures that go through the model at once; 16 by default.
        method: None; how to label pixels is asked of segmenters only.

    Raises:
        ValueError: If the model has no classifier, or a method is given.
    """

    def __init__(self, model: nn.Module, batch_size: int | None = None, method: LabellingMethod | None = None) -> None:
        if not getattr(model, "num_classes", 0):
            raise UserError(f"{type(model).__name__} has no classifier; create it with num_classes above 0")
        if method is not None:
            raise UserError(f"{type(model).__name__} classifies; leave out {method}, which is for segmenters")
        self.model = model
        self.preprocessing = preprocessing_of(model)
        self.class_names = class_names_of(model)
        self.batch_size = _BATCH_SIZE if batch_size is None else batch_size
        self.prepare = self.preprocessing.transform()

    def answer(self, prepared: Sequence[torch.Tensor], sources: Sequence[ImageSource]) -> list[ClassificationResult]:
        """Classify prepared pictures."""
        logits = ask(self.model, torch.stack(list(prepared))).cpu()
        return [
            ClassificationResult(row, self.class_names, source) for row, source in zip(logits, sources, strict=True)
        ]
