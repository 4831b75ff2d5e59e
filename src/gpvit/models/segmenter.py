"""Semantic segmentation: a backbone's feature maps, a head, and logits at the image's size.

Shape letters: B batch, K classes, H W image size, C_i h_i w_i channels and size of feature i.
"""

from collections.abc import Callable, Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from gpvit.errors import UserError
from gpvit.layers.segmentation_heads import FCNHead, SegFormerHead, UPerNetHead
from gpvit.models.variants import VARIANTS

DECODERS: dict[str, Callable[..., nn.Module]] = {"upernet": UPerNetHead, "segformer": SegFormerHead}
"""The decoders by name; each maps a list of ``(B, C_i, h_i, w_i)`` to logits ``(B, K, h_0, w_0)``."""

_LAST_FOUR = (-4, -3, -2, -1)
_TAPS = (2, 5, 8, 11)  # blocks whose features the paper's segmentation models take


class Segmenter(nn.Module):
    """A decoder on a backbone's features.

    Of GPViT the features are those of blocks 2, 5, 8 and 11, each with a layer norm of its own and all at 1/8 of the
    image's resolution. Any other timm model gives its last four features, of whatever strides.

    Args:
        backbone: Name of a timm model, this package's among them.
        decoder: A key of ``DECODERS``, such as ``"upernet"``, or a class as :func:`gpvit.register_decoder` takes it.
        num_classes: Number of classes, ``K``.
        in_chans: Channels of the image.
        drop_path_rate: Stochastic depth of the backbone.
        backbone_kwargs: More arguments of the backbone, such as ``img_size`` or ``out_indices``.
        decoder_kwargs: More arguments of the decoder, such as ``channels``.

    Attributes:
        backbone: The features (timm's ``features_only``).
        decoder: The head whose logits are the answer.
        auxiliary: A second head on the last feature, of UPerNet, which only training uses; else None.
        stride: Pixels of the image per cell of the decoder's logits.

    Raises:
        ValueError: If there is no such backbone or decoder.

    Example:
        >>> Segmenter("resnet18", "segformer", num_classes=19)(torch.rand(1, 3, 64, 96)).shape
        torch.Size([1, 19, 64, 96])
    """

    task = "segmentation"
    head_names = ("decoder.classifier.", "auxiliary.classifier.")
    """What depends on the classes."""
    gpvit_config: dict[str, Any] | None = None
    """``name`` and ``kwargs`` that the model was created with; its weights' file repeats them."""

    def __init__(
        self,
        backbone: str = "gpvit_l1",
        decoder: str | Callable[..., nn.Module] = "upernet",
        num_classes: int = 150,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        backbone_kwargs: dict[str, Any] | None = None,
        decoder_kwargs: dict[str, Any] | None = None,
    ):
        super().__init__()
        if not callable(decoder) and decoder not in DECODERS:
            raise UserError(
                f"unknown decoder {decoder!r}; choose one of {', '.join(DECODERS)}, or first import the module that "
                "registers it (gpvit.register_decoder)"
            )
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.pretrained_cfg: dict[str, Any] = {
            "input_size": (3, 512, 512),  # colour, as are mean and std, whatever in_chans
            "mean": IMAGENET_DEFAULT_MEAN,
            "std": IMAGENET_DEFAULT_STD,
            "max_size": (2048, 512),
            "size_divisor": 32,
        }
        taps = {"out_indices": _TAPS, "feature_norms": _TAPS[:-1]}
        own = taps if backbone in VARIANTS else {"out_indices": _LAST_FOUR}
        drop_path = {"drop_path_rate": drop_path_rate} if drop_path_rate else {}  # some backbones know none
        options = {**own, **drop_path, **(backbone_kwargs or {})}
        self.backbone = timm.create_model(backbone, features_only=True, in_chans=in_chans, **options)
        features: Any = self.backbone.feature_info
        self._channels_last = str(getattr(self.backbone, "output_fmt", "")).endswith("NHWC")
        channels = features.channels()
        self.stride: int = features.reduction()[0]
        make = decoder if callable(decoder) else DECODERS[decoder]
        self.decoder = make(channels, num_classes, **(decoder_kwargs or {}))
        self.auxiliary = FCNHead(channels[-1], num_classes) if decoder == "upernet" else None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Segment images ``(B, in_chans, H, W)``: logits ``(B, K, H, W)``."""
        return _resize(self.forward_low(images), images)

    def forward_low(self, images: torch.Tensor) -> torch.Tensor:
        """Segment images ``(B, in_chans, H, W)`` at the decoder's resolution: logits ``(B, K, h_0, w_0)``."""
        return self.decode(self.forward_features(images))

    def forward_with_auxiliary(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Segment images ``(B, in_chans, H, W)``: logits ``(B, K, H, W)``, and the auxiliary head's or None."""
        features = self.forward_features(images)
        auxiliary = None if self.auxiliary is None else _resize(self.auxiliary(features[-1]), images)
        return _resize(self.decode(features), images), auxiliary

    def forward_features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Compute the backbone's features, ``(B, C_i, h_i, w_i)`` each, of images ``(B, in_chans, H, W)``."""
        features = self.backbone(images)
        return [feature.permute(0, 3, 1, 2) for feature in features] if self._channels_last else list(features)

    def decode(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Turn features ``(B, C_i, h_i, w_i)`` into logits ``(B, K, h_0, w_0)``."""
        return self.decoder(features)

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Name the parameters, beside norms and biases, that weight decay should spare: those of the backbone."""
        wrapped = "backbone.model" if self._inner_backbone() is not self.backbone else "backbone"
        return {f"{wrapped}.{name}" for name in getattr(self._inner_backbone(), "no_weight_decay", set)()}

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep less of the backbone for the backward pass and compute it again there."""
        self._inner_backbone().set_grad_checkpointing(enable)

    def _inner_backbone(self) -> Any:
        """Return the model that timm's wrapper holds, where it holds one."""
        return getattr(self.backbone, "model", self.backbone)


def _resize(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return F.interpolate(logits, size=images.shape[2:], mode="bilinear", align_corners=False)
