"""How each task predicts: what a loader prepares of an image, and what the network and a result make of a batch."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.v2 import functional as F

from gpvit.data.transforms.segmentation import SegmentationPreprocessing
from gpvit.errors import UserError
from gpvit.inference.forward import forward_logits
from gpvit.inference.inferers import Inferer, SlidingWindow, WholeImage
from gpvit.inference.loading import Loaded
from gpvit.inference.metadata import (
    categories_of,
    class_colors_of,
    class_names_of,
    preprocessing_of,
    segmentation_preprocessing_of,
)
from gpvit.inference.results.classification import ClassificationResult
from gpvit.inference.results.detection import DetectionResult
from gpvit.inference.results.segmentation import SegmentationResult
from gpvit.inference.windows import finder
from gpvit.runtime.images import ImageSource, read_image

LARGEST_WHOLE = 178_956_970
"""Pixels of the largest image that is segmented whole; Pillow warns of larger ones. They are segmented by windows."""
_MAX_PIXELS = 2**30  # 3 GiB as RGB: what claims more is refused, for a small damaged file may claim anything


class TaskPredictor:
    """One task's part of a `Predictor` with a model in evaluation mode; a classifier takes no inferer.

    `read` decodes an image, and `prepare` turns it into what `infer` needs. Both may go to another process, and hold no
    model. So many images as `batch_size` says go through the model at once, unless a user says otherwise.
    """

    preprocessing: Any
    read: Callable[[ImageSource], Image.Image] = staticmethod(read_image)
    prepare: Callable[[Image.Image], Any]
    batch_size = 1

    def __init__(self, model: Any, inferer: Inferer | None = None) -> None:
        if inferer is not None:
            raise UserError(f"{type(model).__name__} sees images whole; leave out {inferer}")
        self.model = model
        self.class_names = class_names_of(model)

    def infer(self, images: Sequence[Loaded]) -> Sequence[Any]:
        """Run the network on loaded images, and make a result of each."""
        raise NotImplementedError


class Classification(TaskPredictor):
    """Classifies batches of images, prepared as the model's ``pretrained_cfg`` says."""

    batch_size = 16

    def __init__(self, model: nn.Module, inferer: Inferer | None = None) -> None:
        if not getattr(model, "num_classes", 0):
            raise UserError(f"{type(model).__name__} has no classifier; create it with num_classes above 0")
        super().__init__(model, inferer)
        self.preprocessing = preprocessing_of(model)
        self.prepare = self.preprocessing.transform()

    def infer(self, images: Sequence[Loaded]) -> list[ClassificationResult]:
        """Classify images."""
        logits = forward_logits(self.model, torch.stack([image.inputs for image in images])).cpu()
        return [
            ClassificationResult(row, self.class_names, image.source, image.pixels)
            for row, image in zip(logits, images, strict=True)
        ]


class Segmentation(TaskPredictor):
    """Labels images, each at its own size; neighbours of equal size go through the model together."""

    read = staticmethod(partial(read_image, max_pixels=_MAX_PIXELS))

    def __init__(self, model: nn.Module, inferer: Inferer | None = None) -> None:
        super().__init__(model)
        self.preprocessing = segmentation_preprocessing_of(model)
        self.colors = class_colors_of(model)
        self.prepare = partial(_prepare_segmentation, inferer or WholeImage(), self.preprocessing)

    def infer(self, images: Sequence[Loaded]) -> list[SegmentationResult]:
        """Label images."""
        labels: list[np.ndarray] = []
        for inferer, group in groupby((image.inputs for image in images), lambda inputs: inputs[0]):
            labels += inferer.label(self.model, [prepared for _, prepared in group], self.preprocessing)
        return [
            SegmentationResult(each, self.class_names, self.colors, image.source, image.pixels)
            for each, image in zip(labels, images, strict=True)
        ]


class Detection(TaskPredictor):
    """Finds objects; normalising, resizing and padding are part of the model.

    Neighbours of equal size go through the model together, others one by one: padding would change what is found.
    """

    def __init__(self, model: nn.Module, inferer: Inferer | None = None) -> None:
        super().__init__(model)
        self.find = finder(model, self.model.find, inferer)
        if self.model.in_chans not in (1, 3):
            channels = f"the model takes images of {self.model.in_chans} channels"
            raise UserError(f"{channels}; image files have 3, or 1 in gray: call the model itself with tensors")
        self.preprocessing = self.model.transform
        self.categories, self.colors = categories_of(model), class_colors_of(model)
        self.prepare = partial(_prepare_detection, "L" if self.model.in_chans == 1 else "RGB")

    def infer(self, images: Sequence[Loaded]) -> list[DetectionResult]:
        """Find objects."""
        weight = next(self.model.parameters())
        found: list[dict[str, torch.Tensor]] = []
        for _, group in groupby((image.inputs for image in images), lambda inputs: inputs.shape):
            scaled = (F.to_dtype(image.to(weight.device), torch.float32, scale=True) for image in group)
            found += self.find([image.to(weight.dtype) for image in scaled])
        return [
            DetectionResult(
                boxes=each["boxes"].float().cpu(),
                labels=each["labels"].cpu(),
                scores=each["scores"].float().cpu(),
                categories=self.categories,
                colors=self.colors,
                size=(image.inputs.shape[1], image.inputs.shape[2]),
                source=image.source,
                mask_probabilities=each["masks"].float().cpu() if "masks" in each else None,
                pixels=image.pixels,
            )
            for each, image in zip(found, images, strict=True)
        ]


TASKS = {"classification": Classification, "segmentation": Segmentation, "detection": Detection}


def _prepare_segmentation(
    inferer: Inferer, preprocessing: SegmentationPreprocessing, image: Image.Image
) -> tuple[Inferer, Any]:
    if image.width * image.height > LARGEST_WHOLE and not isinstance(inferer, SlidingWindow):
        inferer = SlidingWindow()
    return inferer, inferer.prepare(image, preprocessing)


def _prepare_detection(mode: str, image: Image.Image) -> torch.Tensor:
    return cast(torch.Tensor, F.pil_to_tensor(image.convert(mode)))
