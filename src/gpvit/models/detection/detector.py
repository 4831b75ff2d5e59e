"""What Mask R-CNN and RetinaNet have in common: images in, losses or detections out, as torchvision's detectors.

Shape letters: B batch, N detections, M objects, K classes, H W image size.
"""

from collections import OrderedDict
from collections.abc import Sequence
from copy import copy
from typing import Any

import timm
import torch
from torch import nn
from torchvision.models.detection.transform import resize_boxes
from torchvision.ops import batched_nms, clip_boxes_to_image
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, FeaturePyramidNetwork

from gpvit.errors import UserError
from gpvit.models.adapter import ViTAdapter
from gpvit.models.detection.inputs import Detections, Maps, RoundedResize, Size, Target, check_images, check_targets
from gpvit.models.detection.masks import MaskFormat
from gpvit.models.images import require_finite


class Detector(nn.Module):
    """A ViT-Adapter on a backbone, a feature pyramid, and what a subclass makes of it.

    Subclasses say how many maps they take, what adds the coarser ones (:meth:`extra_levels`) and what works on them
    (:meth:`build_heads`), and define :meth:`losses` and :meth:`detect`.

    Args:
        backbone: Name of a timm model that is a plain transformer, this package's among them.
        num_classes: Number of classes without background, ``K``; labels are 1 to K.
        in_chans: Channels of the image.
        drop_path_rate: Stochastic depth of the backbone and of the adapter.
        backbone_kwargs: More arguments of the backbone, such as ``img_size``.
        adapter_kwargs: More arguments of :class:`gpvit.ViTAdapter`, such as ``blocks``.
        channels: Channels of the pyramid and of the heads.
        head_kwargs: Arguments of :meth:`build_heads`.
        min_size: Short side, in pixels, that images are resized to; of several, training draws one for each image and
            evaluation takes the last.
        max_size: Long side that resized images must not exceed.
        resize_in_training: Resize in training too; else the images are taken as they come.
        image_mean: Mean of each channel, which is taken off; by default the backbone's.
        image_std: Standard deviation of each channel, which is divided by; by default the backbone's.

    Attributes:
        backbone: ``body``, the adapter with the backbone in it, and ``fpn``.
        transform: Normalises, resizes and pads.
    """

    task = "detection"
    num_outputs: int
    """Maps taken of the adapter."""
    coarsest_norm: int
    """Stride of the coarsest map that batch norm works on."""
    has_masks = False
    gpvit_config: dict[str, Any] | None = None
    """``name`` and ``kwargs`` that the model was created with; its weights' file repeats them."""

    def __init__(
        self,
        backbone: str = "gpvit_l1",
        num_classes: int = 80,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        backbone_kwargs: dict[str, Any] | None = None,
        adapter_kwargs: dict[str, Any] | None = None,
        channels: int = 256,
        head_kwargs: dict[str, Any] | None = None,
        min_size: int | Sequence[int] = 800,
        max_size: int = 1333,
        resize_in_training: bool = True,
        image_mean: Sequence[float] | None = None,
        image_std: Sequence[float] | None = None,
    ):
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        drop_path: dict[str, Any] = {"drop_path_rate": drop_path_rate}
        options = {"in_chans": in_chans, **drop_path, **(backbone_kwargs or {})}
        transformer: Any = timm.create_model(backbone, num_classes=0, **options)
        mean = _by_channel(image_mean, transformer.pretrained_cfg["mean"], in_chans, "image_mean")
        std = _by_channel(image_std, transformer.pretrained_cfg["std"], in_chans, "image_std")
        sizes = [min_size] if isinstance(min_size, int) else list(min_size)
        self.transform = RoundedResize(sizes, max_size, list(mean), list(std), resize_in_training=resize_in_training)
        self.pretrained_cfg: dict[str, Any] = {
            "input_size": (in_chans, sizes[-1], max_size),
            "mean": mean,
            "std": std,
            "max_size": (max_size, sizes[-1]),
            "size_divisor": self.transform.size_divisible,
        }
        body = ViTAdapter(transformer, num_outputs=self.num_outputs, **{**drop_path, **(adapter_kwargs or {})})
        self.backbone = PyramidBackbone(body, channels, self.extra_levels(channels))
        self.build_heads(channels, **(head_kwargs or {}))

    def extra_levels(self, channels: int) -> ExtraFPNBlock:
        """Make what adds the coarser maps."""
        raise NotImplementedError

    def build_heads(self, channels: int, **options: Any) -> None:
        """Make the modules that work on the maps."""
        raise NotImplementedError

    def forward(
        self, images: Sequence[torch.Tensor], targets: Sequence[Target] | None = None
    ) -> dict[str, torch.Tensor] | list[Detections]:
        """Compute the losses in training, the detections in evaluation.

        Args:
            images: Images ``(in_chans, H, W)`` of any sizes, floats in [0, 1].
            targets: For training, ``boxes`` ``(M, 4)`` (left, top, right, bottom, in pixels), ``labels`` ``(M,)`` from
                1, and for Mask R-CNN ``masks`` ``(M, H, W)`` of each image. M may be 0.

        Returns:
            The losses by name, to be added up; or for each image ``boxes`` ``(N, 4)``, ``labels`` ``(N,)``, ``scores``
            ``(N,)``, best first, and of Mask R-CNN ``masks`` ``(N, 1, H, W)``.

        Raises:
            ValueError: If images or, in training, targets make no sense.
        """
        check_images(images, self.in_chans)
        if self.training:
            check_targets(targets, images, self.num_classes, self.has_masks)
        sizes = [(int(image.shape[1]), int(image.shape[2])) for image in images]
        batch, resized = self.transform(list(images), list(targets) if self.training and targets else None)
        count, _, height, width = batch.tensors.shape
        if self.training and count == 1 and max(height, width) <= self.coarsest_norm:
            raise UserError(
                f"one image of {width}x{height} pixels has a single cell at stride {self.coarsest_norm}, too few "
                "for the statistics of batch norm; train on two images or more at a time, or on larger ones"
            )
        features = list(self.backbone(batch.tensors).values())
        if self.training:
            return self.losses(features, batch.image_sizes, resized)
        return self.detect(features, batch.image_sizes, sizes)

    def find(self, images: Sequence[torch.Tensor], masks: MaskFormat = "box") -> list[Detections]:
        """Detect objects as in evaluation; refuses features that are not finite, in which none would be found.

        Args:
            images: As of :meth:`forward`.
            masks: Of Mask R-CNN its ``mask_format``, for this call alone. Masks within their boxes take some thousandth
                of the memory of pasted ones.
        """
        model: Any = copy(self)
        model.mask_format = masks  # of the copy alone
        with model.backbone.register_forward_hook(_require_finite_maps):
            found: list[Detections] = model(images)
        return found

    def losses(self, features: Maps, image_sizes: list[Size], targets: list[Target]) -> dict[str, torch.Tensor]:
        """Compute the losses by name from the pyramid of resized images, of these sizes before padding."""
        raise NotImplementedError

    def detect(self, features: Maps, image_sizes: list[Size], original_sizes: list[Size]) -> list[Detections]:
        """Detect objects in the pyramid of resized images; the answer is for their original sizes."""
        raise NotImplementedError

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Name the parameters, beside norms and biases, that weight decay should spare: those of the backbone."""
        return {f"backbone.body.{name}" for name in self.backbone.body.no_weight_decay()}

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep less of the backbone for the backward pass and compute it again there."""
        self.backbone.body.set_grad_checkpointing(enable)


class PyramidBackbone(nn.Module):
    """The adapter and the pyramid on its maps, under the names that torchvision gives such a pair."""

    def __init__(self, body: ViTAdapter, channels: int, extra: ExtraFPNBlock):
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramidNetwork(body.feature_info.channels(), channels, extra, norm_layer=nn.BatchNorm2d)
        for module in self.fpn.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the maps ``(B, channels, h_i, w_i)`` of images ``(B, C, H, W)``."""
        return self.fpn(OrderedDict((str(i), feature) for i, feature in enumerate(self.body(images))))


def _require_finite_maps(backbone: nn.Module, images: object, maps: dict[str, torch.Tensor]) -> None:
    for each in maps.values():
        require_finite(each, next(backbone.parameters()).dtype)


def _by_channel(given: Sequence[float] | None, colour: Sequence[float], in_chans: int, name: str) -> tuple[float, ...]:
    """Return one value for each channel: those given, else those of colour or, for other channels, their mean."""
    if given is None:
        return tuple(colour) if in_chans == len(colour) else (sum(colour) / len(colour),) * in_chans
    if len(given) != in_chans:
        raise UserError(f"{name} has {len(given)} values for images of {in_chans} channels; give one for each")
    return tuple(given)


def best_of_each_class(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    labels: torch.Tensor,
    image_size: Size,
    original_size: Size,
    overlap: float,
    limit: int,
) -> Detections:
    """Suppress what overlaps a better box of its class, after the boxes are those of the original image.

    torchvision suppresses first and resizes then; where the sides are scaled differently, overlaps are the same but
    for rounding. The `limit` best boxes are returned, best first.

    code: ``rescale`` in ``_bbox_post_process`` and ``multiclass_nms``; boxes of which clipping left nothing are kept.
    """
    boxes = resize_boxes(clip_boxes_to_image(boxes, image_size), list(image_size), list(original_size))
    kept = batched_nms(boxes, scores, labels, overlap)[:limit]
    return {"boxes": boxes[kept], "labels": labels[kept], "scores": scores[kept]}
