"""A ViT-Adapter as timm knows networks: a pyramid of features, and a classifier on the coarsest of them.

Shape letters: B batch, C channels, h w size of the map at stride 32.
"""

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import ClassifierHead
from torch import nn

from gpvit.errors import UserError
from gpvit.models.adapter import ViTAdapter
from gpvit.models.variants import block_indices


class AdapterNet(ViTAdapter):
    """A plain transformer under an adapter, following timm's model contract.

    Args:
        backbone: The transformer, which is taken over.
        num_classes: Number of classes; 0 for no classifier.
        global_pool: Pooling of the coarsest map, as timm names it: ``"avg"``, ``"max"``, ``"avgmax"`` or ``""``.
        output_stride: 32, or 8 or 16: coarser maps are then resampled to that stride.
        drop_rate: Dropout before the classifier.
        **adapter: More arguments of :class:`gpvit.ViTAdapter`, such as ``blocks``.
    """

    output_fmt = "NCHW"
    num_prefix_tokens = 0

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int = 1000,
        global_pool: str = "avg",
        output_stride: int = 32,
        drop_rate: float = 0.0,
        **adapter: Any,
    ):
        super().__init__(backbone, **adapter)
        if output_stride not in (8, 16, 32):
            raise UserError(f"output_stride must be 8, 16 or 32; got {output_stride}")
        self.output_stride = output_stride
        for info in self.feature_info.info:
            info["reduction"] = min(info["reduction"], output_stride)
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = self.embed_dim
        self.head = ClassifierHead(self.embed_dim, num_classes, pool_type=global_pool, drop_rate=drop_rate)

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier, and the pooling if one is named; 0 classes leave none."""
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool)
        self.head.to(self.level_embed)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Describe how parameters group into layers, for layer-wise learning-rate decay."""
        blocks = [(r"^backbone\.blocks\.(\d+)", None), (r"^injectors|extractors|upsample|norms|level_embed", (99999,))]
        return {"stem": r"^backbone\.(?!blocks)|^spatial_prior", "blocks": blocks}

    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """Compute maps of the pyramid, the finest first, as the features that timm asks for.

        Args:
            x: Images, ``(B, in_chans, height, width)``.
            indices: Maps to take, negative ones from the end; the last ``n`` if an int, all if None.
            norm: Not used: every map has a norm of its own.
            stop_early: Not used: the maps come together.
            output_fmt: ``"NCHW"``; there is no other.
            intermediates_only: Return the list alone.
        """
        if output_fmt != "NCHW":
            raise UserError(f"output_fmt must be 'NCHW'; got {output_fmt!r}")
        maps = self._maps(x)
        taken = [maps[i] for i in block_indices(indices, len(maps))]
        return taken if intermediates_only else (maps[-1], taken)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the classifier, if asked; all else makes the maps together. The maps taken are returned."""
        if prune_head:
            self.reset_classifier(0, "")
        return block_indices(indices, len(self.strides))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the coarsest map ``(B, C, h, w)`` of images ``(B, in_chans, height, width)``."""
        return self._maps(x)[-1]

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Pool a map ``(B, C, h, w)`` and classify, or return what the classifier would see."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Classify images ``(B, in_chans, height, width)``: logits ``(B, num_classes)``."""
        return self.forward_head(self.forward_features(x))

    def _maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = super().forward(x)
        kept = [m for m, stride in zip(maps, self.strides, strict=True) if stride <= self.output_stride]
        finer = [F.interpolate(m, kept[-1].shape[2:], mode="bilinear") for m in maps[len(kept) :]]
        return [*kept, *finer]
