"""How a detector answers: pictures at their own size."""

from collections.abc import Sequence
from copy import copy
from typing import cast

import torch
from PIL import Image
from torch import nn
from torchvision.transforms.v2 import functional as F

from gpvit.data.images import ImageSource
from gpvit.errors import UserError
from gpvit.inference.labelling import LabellingMethod
from gpvit.inference.metadata import categories_of, class_colors_of
from gpvit.inference.results.detection import DetectionResult
from gpvit.models.detection.detector import Detector
from gpvit.models.detection.mask_rcnn import MaskRCNN


class Detection:
    """Has a detector find objects; normalising, resizing and padding are part of the model.

    Args:
        model: In evaluation mode.
        batch_size: Pictures that go through the model at once, if all are of one size, else one by one: padding would
            change what is found. 1 by default.
        method: None; how to label pixels is asked of segmenters only.

    Raises:
        ValueError: If the model takes neither gray nor colour pictures, or a method is given.
    """

    def __init__(self, model: nn.Module, batch_size: int | None = None, method: LabellingMethod | None = None) -> None:
        if method is not None:
            raise UserError(f"{type(model).__name__} detects objects; leave out {method}, which is for segmenters")
        self.model = cast(Detector, model)
        if self.model.in_chans not in (1, 3):
            raise UserError(
                f"the model takes images of {self.model.in_chans} channels; pictures have 3, or 1 in gray: call the "
                "model itself with tensors"
            )
        self.preprocessing = self.model.transform
        self.categories = categories_of(model)
        self.class_names = self.categories.names
        self.colors = class_colors_of(model)
        self.batch_size = 1 if batch_size is None else batch_size

    def prepare(self, picture: Image.Image) -> torch.Tensor:
        """Turn a picture into floats in [0, 1], ``(in_chans, H, W)``."""
        picture = picture.convert("L") if self.model.in_chans == 1 else picture
        return F.to_dtype(F.pil_to_tensor(picture), torch.float32, scale=True)

    @torch.inference_mode()
    def answer(self, prepared: Sequence[torch.Tensor], sources: Sequence[ImageSource]) -> list[DetectionResult]:
        """Find the objects in prepared pictures.

        Raises:
            ValueError: If features are not finite, of which nothing would be found.
        """
        weight = next(self.model.parameters())
        images = [image.to(weight.device, weight.dtype) for image in prepared]
        batches = [images] if len({image.shape for image in images}) == 1 else [[image] for image in images]
        model = copy(self.model)
        if isinstance(model, MaskRCNN):
            model.mask_format = "box"  # of the copy alone; pasted masks would take some thousand times the memory
        with model.backbone.register_forward_hook(_require_finite):
            found = [each for batch in batches for each in cast(list[dict[str, torch.Tensor]], model(batch))]
        return [
            self._result(each, (image.shape[1], image.shape[2]), source)
            for each, image, source in zip(found, prepared, sources, strict=True)
        ]

    def _result(self, found: dict[str, torch.Tensor], size: tuple[int, int], source: ImageSource) -> DetectionResult:
        on_cpu = {name: values.cpu() for name, values in found.items()}
        return DetectionResult(
            boxes=on_cpu["boxes"].float(),
            labels=on_cpu["labels"],
            scores=on_cpu["scores"].float(),
            categories=self.categories,
            colors=self.colors,
            size=size,
            source=source,
            mask_probabilities=on_cpu["masks"].float() if "masks" in on_cpu else None,
        )


def _require_finite(backbone: nn.Module, images: object, features: dict[str, torch.Tensor]) -> None:
    if not all(feature.isfinite().all() for feature in features.values()):
        dtype = next(backbone.parameters()).dtype
        raise UserError(f"the model's features are not finite; are its weights, or is {dtype} too narrow?")
