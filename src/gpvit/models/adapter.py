"""ViT-Adapter: a feature pyramid from a plain vision transformer (ICLR 2023, arXiv 2205.08534).

A few convolutions see the image beside the transformer. Between its blocks the two exchange information by deformable
attention, so that what comes out has several scales, and the transformer stays as it was pretrained.

Shape letters: B batch, N tokens of the transformer's grid, S tokens of the pyramid at strides 8, 16 and 32, C channels.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from timm.models import FeatureInfo
from torch import nn
from torch.utils.checkpoint import checkpoint

from gpvit.errors import UserError
from gpvit.layers.interaction import Extractor, Geometry, Injector
from gpvit.layers.spatial_prior import STRIDES, SpatialPrior
from gpvit.models.images import check_images
from gpvit.models.plain_vit import Tokens, embed, patch_and_channels, require_plain, run_blocks, take_over
from gpvit.ops.deformable import Grid
from gpvit.ops.tracing import is_for_any_size


class ViTAdapter(nn.Module):
    """A plain vision transformer with an adapter: images in, maps at strides 4, 8, 16 and 32 out.

    Any image is accepted. It is zero-padded at the bottom and the right to a multiple of 32 pixels, what the authors'
    detectors ask for, and the maps are cut to ``ceil(height / stride) x ceil(width / stride)``.

    The backbone is taken over: its classifier and final norm, which a pyramid has no use for, are removed, and a
    transformer of timm is made to accept any image size.

    Args:
        backbone: A :class:`~gpvit.models.backbone.GPViT`, or a ``VisionTransformer`` (ViT, DeiT, DINOv2, ...) or
            ``Eva`` (EVA-02, DINOv3, ...) of timm with patches of any size.
        blocks: First and last block of each interaction, together all blocks of the backbone; by default four parts.
        num_outputs: 4 for strides 4 to 32 (Mask R-CNN), 3 for strides 8 to 32 (RetinaNet).
        num_heads: Heads of the deformable attentions; divides ``C``. By default 6 where that does, else 16, 8, 4 or 1.
        num_points: Samples of a head on each map.
        mlp_ratio: Hidden width of the extractors' convolutional MLPs over ``C``.
        drop_path_rate: Probability of dropping such an MLP for a sample. code: the same for all, it does not rise.
        extra_extractors: Number of extractors that follow the last interaction.
        spatial_width: Channels of the spatial prior at stride 4.

    Raises:
        ValueError: If the backbone is of another kind, or an argument does not fit it.

    Example:
        >>> adapter = ViTAdapter(timm.create_model("vit_small_patch16_224"))
        >>> [tuple(x.shape) for x in adapter(torch.rand(1, 3, 64, 96))]
        [(1, 384, 16, 24), (1, 384, 8, 12), (1, 384, 4, 6), (1, 384, 2, 3)]
    """

    def __init__(
        self,
        backbone: nn.Module,
        blocks: Sequence[Sequence[int]] | None = None,
        num_outputs: int = 4,
        num_heads: int | None = None,
        num_points: int = 4,
        mlp_ratio: float = 0.25,
        drop_path_rate: float = 0.0,
        extra_extractors: int = 2,
        spatial_width: int = 64,
    ):
        super().__init__()
        if num_outputs not in (3, 4):
            raise UserError(f"num_outputs must be 3 (strides 8 to 32) or 4 (strides 4 to 32); got {num_outputs}")
        self.backbone = require_plain(backbone)
        depth = len(self.backbone.blocks)
        if blocks is None:
            ends = [depth * part // 4 for part in range(5)]
            blocks = [(first, end - 1) for first, end in pairwise(ends) if first < end]
        self.stages = [range(first, last + 1) for first, last in blocks]
        if [i for stage in self.stages for i in stage] != list(range(depth)):
            raise UserError(
                f"blocks must be [first, last] of consecutive parts that end with the backbone's block {depth - 1}; "
                f"got {[list(part) for part in blocks]}"
            )
        self.patch, self.in_chans = patch_and_channels(self.backbone)
        self.embed_dim = dim = self.backbone.embed_dim
        num_heads = num_heads or next(heads for heads in (6, 16, 8, 4, 1) if not dim % heads)
        self.strides = STRIDES[-num_outputs:]
        self.grad_checkpointing = False

        levels = len(STRIDES) - 1
        self.spatial_prior = SpatialPrior(self.in_chans, dim, self.strides, spatial_width)
        self.level_embed = nn.Parameter(torch.empty(levels, dim))
        self.injectors = nn.ModuleList(Injector(dim, levels, num_heads, num_points) for _ in self.stages)
        extractors = range(len(self.stages) + extra_extractors)
        self.extractors = nn.ModuleList(
            Extractor(dim, num_heads, num_points, mlp_ratio, drop_path_rate) for _ in extractors
        )
        if num_outputs == len(STRIDES):
            self.upsample = nn.ConvTranspose2d(dim, dim, kernel_size=2, stride=2)
        self.norms = nn.ModuleDict({str(stride): nn.BatchNorm2d(dim) for stride in self.strides})
        self.feature_info = FeatureInfo(
            [{"num_chs": dim, "reduction": stride, "module": f"norms.{stride}"} for stride in self.strides],
            out_indices=tuple(range(num_outputs)),
        )
        self._reset_adapter()
        take_over(self.backbone)  # not before all arguments are found to fit

    def _reset_adapter(self) -> None:
        nn.init.normal_(self.level_embed)
        for name, module in self.named_modules():
            if name.startswith("backbone"):
                continue
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
            elif isinstance(module, nn.Linear) and ".attn." not in name:  # attention has set its own
                nn.init.trunc_normal_(module.weight, std=0.02)
            else:
                continue
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Name the parameters, beside norms and biases, that weight decay should spare."""
        return {"level_embed"} | {f"backbone.{name}" for name in self.backbone.no_weight_decay()}

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the inputs of blocks, injectors and extractors, and compute their insides again going backward."""
        self.grad_checkpointing = enable

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Turn images ``(B, in_chans, height, width)`` into maps ``(B, C, height / stride, width / stride)``."""
        check_images(x, self.in_chans)
        size = (x.shape[2], x.shape[3])
        x = _pad(x, STRIDES[-1])
        maps = self.spatial_prior(x)
        tokens = embed(self.backbone, x)
        tokens, maps = self._interact(tokens, maps, (x.shape[2], x.shape[3]))
        finest, next_finest = STRIDES[:2]
        if finest in maps:
            maps[finest] = maps[finest] + self.upsample(maps[next_finest])
        grid = tokens.patches.unflatten(1, tokens.grid).permute(0, 3, 1, 2)
        outputs = []
        for stride in self.strides:
            # Not -(-side // stride): exporters to ONNX divide positive numbers only.
            shape = ((size[0] + stride - 1) // stride, (size[1] + stride - 1) // stride)
            summed = _crop(maps[stride], shape) + _crop(_resize(grid, self.patch, stride), shape)
            outputs.append(self.norms[str(stride)](summed))
        return outputs

    def _interact(
        self, tokens: Tokens, maps: dict[int, torch.Tensor], size: Grid
    ) -> tuple[Tokens, dict[int, torch.Tensor]]:
        """Run the blocks, and exchange information between tokens and the maps at strides 8, 16 and 32."""
        shapes = [(size[0] // stride, size[1] // stride) for stride in STRIDES[1:]]
        coarser = [maps[stride].permute(0, 2, 3, 1).flatten(1, 2) for stride in STRIDES[1:]]
        pyramid = torch.cat([m + level for m, level in zip(coarser, self.level_embed, strict=True)], dim=1)
        reach = (tokens.grid[0] * self.patch, tokens.grid[1] * self.patch)
        device = pyramid.device
        on_pyramid = Geometry(_centres(tokens.grid, self.patch, size, device), shapes)
        centres = [_centres(s, stride, reach, device) for s, stride in zip(shapes, STRIDES[1:], strict=True)]
        on_grid = Geometry(torch.cat(centres), [tokens.grid])

        extra = len(self.extractors) - len(self.stages)
        for i, (stage, injector) in enumerate(zip(self.stages, self.injectors, strict=True)):
            tokens = tokens._replace(patches=self._run(injector, tokens.patches, pyramid, on_pyramid))
            tokens = run_blocks(self.backbone, stage, tokens, self._recomputes())
            last = i + 1 == len(self.stages)
            for extractor in self.extractors[i : i + 1 + extra * last]:
                pyramid = self._run(extractor, pyramid, tokens.patches, on_grid, shapes)

        parts = pyramid.split([height * width for height, width in shapes], dim=1)
        read = zip(STRIDES[1:], parts, shapes, strict=True)
        return tokens, {**maps, **{s: part.unflatten(1, shape).permute(0, 3, 1, 2) for s, part, shape in read}}

    def _recomputes(self) -> bool:
        return self.grad_checkpointing and torch.is_grad_enabled() and not torch.compiler.is_exporting()

    def _run(self, module: nn.Module, *args: Any) -> torch.Tensor:
        return checkpoint(module, *args, use_reentrant=False) if self._recomputes() else module(*args)


def _centres(shape: Grid, stride: int, reach: Grid, device: torch.device) -> torch.Tensor:
    """Centres ``(H * W, 2)``, x before y, of cells of ``stride`` pixels, as parts of a map that reaches so far."""
    y, x = (
        (torch.arange(cells, device=device, dtype=torch.float32) + 0.5) * stride / pixels
        for cells, pixels in zip(shape, reach, strict=True)
    )
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)


def _resize(x: torch.Tensor, patch: int, stride: int) -> torch.Tensor:
    """Resample ``(B, C, H, W)``, whose cells measure ``patch`` pixels a side, to cells of ``stride`` pixels."""
    # By factor, not by size: a grid of 14-pixel patches may reach beyond the image, and must keep its place on it.
    return F.interpolate(x, scale_factor=patch / stride, mode="bilinear", align_corners=False)


def _pad(x: torch.Tensor, multiple: int) -> torch.Tensor:
    bottom, right = ((side + multiple - 1) // multiple * multiple - side for side in x.shape[2:])
    if is_for_any_size(x) or bottom or right:  # an exported graph must serve every size
        x = F.pad(x, (0, right, 0, bottom))
    return x


def _crop(x: torch.Tensor, shape: Grid) -> torch.Tensor:
    if torch.compiler.is_exporting():  # a slice would be contiguous for some sizes only, which splits the graph
        return F.pad(x, (0, shape[1] - x.shape[3], 0, shape[0] - x.shape[2]))
    return x[:, :, : shape[0], : shape[1]]
