"""How a detector predicts: images at their own size."""

from collections.abc import Sequence
from copy import copy
from functools import partial
from itertools import groupby
from typing import Any, cast

import torch
from PIL import Image
from torch import nn
from torchvision.transforms.v2 import functional as F

from gpvit.data.images import read_image
from gpvit.errors import UserError
from gpvit.inference.forward import require_finite
from gpvit.inference.inferers.base import Inferer
from gpvit.inference.loading import Loaded
from gpvit.inference.metadata import categories_of, class_colors_of
from gpvit.inference.results.detection import DetectionResult
from gpvit.models.detection.detector import Detector
from gpvit.models.detection.mask_rcnn import MaskRCNN


class Detection:
    """Finds objects with a detector; normalising, resizing and padding are part of the model.

    Images of a batch that are of one size go through it together, others one by one: padding would change what is found.

    Args:
        model: In evaluation mode.
        inferer: None; inferers are for segmenters only.

    Raises:
        ValueError: If the model takes neither gray nor colour images, or an inferer is given.
    """

    batch_size = 1
    read = staticmethod(read_image)

    def __init__(self, model: nn.Module, inferer: Inferer | None = None) -> None:
        if inferer is not None:
            raise UserError(f"{type(model).__name__} detects objects; leave out {inferer}, which is for segmenters")
        self.model = cast(Detector, model)
        if self.model.in_chans not in (1, 3):
            raise UserError(
                f"the model takes images of {self.model.in_chans} channels; image files have 3, or 1 in gray: call the "
                "model itself with tensors"
            )
        self.preprocessing = self.model.transform
        self.categories = categories_of(model)
        self.class_names = self.categories.names
        self.colors = class_colors_of(model)
        self.prepare = partial(_to_tensor, mode="L" if self.model.in_chans == 1 else "RGB")

    def infer(self, sources: Sequence[Any], images: Sequence[Loaded]) -> list[DetectionResult]:
        """Find the objects in prepared images.

        Raises:
            ValueError: If features are not finite, of which nothing would be found.
        """
        weight = next(self.model.parameters())
        model = copy(self.model)
        if isinstance(model, MaskRCNN):
            model.mask_format = "box"  # of the copy alone; pasted masks would take some thousand times the memory
        found: list[dict[str, torch.Tensor]] = []
        with model.backbone.register_forward_hook(_require_finite_features):
            for _, group in groupby((image.inputs for image in images), lambda inputs: inputs.shape):
                batch = [F.to_dtype(image.to(weight.device), torch.float32, scale=True) for image in group]
                found += cast(list[dict[str, torch.Tensor]], model([image.to(weight.dtype) for image in batch]))
        return [self._result(*each) for each in zip(found, sources, images, strict=True)]

    def _result(self, found: dict[str, torch.Tensor], source: Any, image: Loaded) -> DetectionResult:
        on_cpu = {name: values.cpu() for name, values in found.items()}
        return DetectionResult(
            boxes=on_cpu["boxes"].float(),
            labels=on_cpu["labels"],
            scores=on_cpu["scores"].float(),
            categories=self.categories,
            colors=self.colors,
            size=tuple(image.inputs.shape[1:]),
            source=source,
            mask_probabilities=on_cpu["masks"].float() if "masks" in on_cpu else None,
            pixels=image.array,
        )


def _to_tensor(image: Image.Image, mode: str) -> torch.Tensor:
    return cast(torch.Tensor, F.pil_to_tensor(image.convert(mode)))


def _require_finite_features(backbone: nn.Module, images: object, features: dict[str, torch.Tensor]) -> None:
    for feature in features.values():
        require_finite(feature, next(backbone.parameters()).dtype)
