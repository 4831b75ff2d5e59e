"""Images of any size made into a padded batch, as for the published results."""

import torch
import torch.nn.functional as F
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes

DIVISOR = 32
"""Batches are padded to a multiple of this many pixels, as the adapter needs."""


class RoundedResize(GeneralizedRCNNTransform):
    """Normalisation, resizing to a rounded size of at least a pixel, and padding to a multiple of 32.

    The arguments are torchvision's, which rounds sizes down and so loses images of extreme shapes.

    code: ``Resize(keep_ratio=True)`` and ``Pad(size_divisor=32)`` of the released configurations.
    """

    def resize(
        self, image: torch.Tensor, target: dict[str, torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor] | None]:
        """Resize an image ``(C, H, W)``, bilinearly, and its target along with it, to fit both sides."""
        if self.training and self._skip_resize:
            return image, target
        height, width = image.shape[-2:]
        short = self.torch_choice(self.min_size) if self.training else self.min_size[-1]
        size = fitted_size((height, width), short, self.max_size)
        if size == (height, width):
            return image, target
        image = F.interpolate(image[None], size, mode="bilinear", align_corners=False)[0]
        if target is not None:
            target["boxes"] = resize_boxes(target["boxes"], [height, width], list(size))
            if "masks" in target:
                masks = target["masks"][:, None].to(torch.uint8)
                target["masks"] = F.interpolate(masks, size, mode="nearest")[:, 0]
        return image, target


def fitted_size(size: tuple[int, int], short: int, long: int) -> tuple[int, int]:
    """Scale a height and width, keeping their ratio, to the largest that fits a short and a long side."""
    scale = min(short / min(size), long / max(size))
    height, width = (max(int(side * scale + 0.5), 1) for side in size)
    return height, width
