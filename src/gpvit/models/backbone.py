"""GPViT: a high-resolution non-hierarchical vision transformer with group propagation (ICLR 2023, arXiv 2212.06795).

A convolutional stem makes tokens at 1/8 resolution, and all blocks keep that resolution. Most blocks attend
locally; a few propagate information over the whole image through group tokens.

Shape letters: B batch, H W token grid (ceil of the image's sides over the stride, 8), C channels, M groups.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from timm.layers import to_2tuple
from torch import nn

from gpvit.errors import UserError
from gpvit.layers.group_propagation import GroupMaps
from gpvit.layers.pooling import build_pool
from gpvit.layers.stem import ConvStem
from gpvit.models.activation_checkpointing import checkpoint_block
from gpvit.models.group_maps import keeping_group_maps
from gpvit.models.images import check_images
from gpvit.models.variants import Layout, block_indices, build_block, layout
from gpvit.ops.resizing import resize_pos_embed

STRIDE = 8
MIN_SIDE = 32

GlobalPool = Literal["avg", "attn", "max", "avgmax", ""]


class GPViT(nn.Module):
    """GPViT backbone with an optional classifier, following timm's model contract.

    Any image of at least 32 pixels a side is accepted. The stem zero-pads its half-resolution map, at the bottom
    and the right, until the token grid is even; the extra tokens take part in the blocks and are then cut off, so
    that features always measure ``ceil(height / stride) x ceil(width / stride)``.

    Args:
        in_chans: Channels of the image.
        num_classes: Number of classes; 0 for no classifier.
        img_size: Image size, in pixels, whose token grid the position embedding is made for. Other sizes
            interpolate it.
        global_pool: ``"avg"`` for the mean, ``"attn"`` for attention pooling, ``"max"`` or ``"avgmax"``, ``""`` to keep
            the grid.
        embed_dim: Channels of every token, ``C``.
        blocks: One mapping for each block: its ``kind``, which is ``"local"``, ``"group"``, a name given to
            :func:`gpvit.register_block` or a class as that takes it, and that block's arguments.
        stem_convs: Number of extra 3x3 convolutions in the stem.
        stride: Pixels of a token's side, a power of 2 from 4.
        mlp_ratio: Hidden width of each block's MLP over ``C``.
        pool_heads: Heads of attention pooling.
        feature_norms: Blocks whose features get a layer norm of their own (the paper's segmentation models: 2, 5, 8);
            those of the last block always get the final norm.
        drop_rate: Dropout before the classifier.
        drop_path_rate: Stochastic depth of the last block; rises linearly from zero.

    Example:
        >>> GPViT(num_classes=10)(torch.rand(1, 3, 224, 224)).shape
        torch.Size([1, 10])
    """

    task = "classification"
    output_fmt = "NHWC"
    num_prefix_tokens = 0
    head_names = ("head.", "pool.")
    """What depends on the classes."""
    gpvit_config: dict[str, Any] | None = None
    """``name`` and ``kwargs`` that the model was created with; its weights' file repeats them."""

    def __init__(
        self,
        in_chans: int = 3,
        num_classes: int = 1000,
        img_size: int | tuple[int, int] = 224,
        global_pool: GlobalPool = "attn",
        embed_dim: int = 216,
        blocks: Layout = layout(),  # noqa: B008  the paper's layout, an immutable tuple
        stem_convs: int = 0,
        stride: int = STRIDE,
        mlp_ratio: float = 4.0,
        pool_heads: int = 6,
        feature_norms: Sequence[int] = (),
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        super().__init__()
        self.in_chans = in_chans
        self.num_features = self.head_hidden_size = self.embed_dim = embed_dim
        self.drop_rate = drop_rate
        self.pool_heads = pool_heads
        self.grad_checkpointing = False

        if stride < 4 or stride & (stride - 1):
            raise UserError(f"stride must be a power of 2 from 4; got {stride}")
        self.stride = stride
        self.stem = ConvStem(in_chans, embed_dim, stem_convs, stride=stride)
        self.img_size = to_2tuple(img_size)
        self.pos_embed = nn.Parameter(torch.empty(1, *self._grid(*self.img_size), embed_dim))

        drop_paths = torch.linspace(0, drop_path_rate, len(blocks), device="cpu").tolist()
        common = {"dim": embed_dim, "mlp_ratio": mlp_ratio}
        built = [build_block(b, drop_path=rate, **common) for b, rate in zip(blocks, drop_paths, strict=True)]
        self.blocks = nn.Sequential(*built)
        info = {"num_chs": embed_dim, "reduction": stride}
        self.feature_info = [{**info, "module": f"blocks.{i}"} for i in range(len(blocks))]
        if beyond := [i for i in feature_norms if not 0 <= i < len(blocks)]:
            raise UserError(f"feature_norms names {beyond}, but the blocks are 0 to {len(blocks) - 1}")
        self.feature_norms = nn.ModuleDict({str(i): nn.LayerNorm(embed_dim, eps=1e-6) for i in sorted(feature_norms)})
        self.norm: nn.Module = nn.LayerNorm(embed_dim, eps=1e-6)

        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks.apply(_init_linear)
        self.global_pool: str = global_pool
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int, global_pool: GlobalPool | None = None) -> None:
        """Replace the classifier, and the pooling if one is named.

        Args:
            num_classes: Number of classes; 0 for no classifier.
            global_pool: Pooling as in the constructor; None keeps the present one and its weights.
        """
        if global_pool is not None or not hasattr(self, "pool"):
            self.global_pool = self.global_pool if global_pool is None else global_pool
            self.pool = build_pool(self.global_pool, self.embed_dim, self.pool_heads).to(self.pos_embed)
        self.num_classes = num_classes
        self.head = (nn.Linear(self.embed_dim, num_classes) if num_classes else nn.Identity()).to(self.pos_embed)
        _init_classifier(self.head)

    @torch.jit.ignore
    @torch.no_grad()
    def init_weights(self) -> None:
        """Draw all values anew, as after ``to_empty()``; a block of one's own needs ``reset_parameters()`` for that."""
        self.apply(_reset)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks.apply(_init_linear)
        _init_classifier(self.head)

    @torch.jit.ignore
    @torch.no_grad()
    def set_input_size(self, img_size: int | tuple[int, int]) -> None:
        """Interpolate the position embedding, once for all, to images of a size in pixels; others still work."""
        self.img_size = to_2tuple(img_size)
        if self.gpvit_config is not None:
            kwargs = {**self.gpvit_config["kwargs"], "img_size": self.img_size}
            self.gpvit_config = {**self.gpvit_config, "kwargs": kwargs}
        self.pos_embed = nn.Parameter(resize_pos_embed(self.pos_embed, self._grid(*self.img_size)).contiguous())

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return self.head

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Name the parameters, beside norms and biases, that weight decay should spare."""
        spared = ("pos_embed", "group_tokens", "pool.token")
        return {name for name, _ in self.named_parameters() if name.endswith(spared)}

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Describe how parameters group into layers, for layer-wise learning-rate decay."""
        return {
            "stem": r"^stem|pos_embed",
            "blocks": [(r"^blocks\.(\d+)", None), (r"^norm|feature_norms|pool", (99999,))],
        }

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the blocks' inputs in training and compute their insides again in the backward pass."""
        self.grad_checkpointing = enable

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Classify images ``(B, in_chans, height, width)``: logits ``(B, num_classes)``."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Compute normalised features ``(B, H, W, C)`` of images ``(B, in_chans, height, width)``."""
        x, grid = self._embed(x)
        for block in self.blocks:
            x = self._run(block, x)
        return self.norm(_crop(x, grid))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Pool features ``(B, H, W, C)`` and classify.

        Args:
            x: Features as :meth:`forward_features` returns them.
            pre_logits: Return what the classifier would see, ``(B, C)``.
        """
        x = F.dropout(self.pool(x), self.drop_rate, self.training)
        return x if pre_logits else self.head(x)

    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """Compute the features of several blocks.

        Args:
            x: Images, ``(B, in_chans, height, width)``.
            indices: Blocks to take, negative ones from the end; the last ``n`` if an int, all if None.
            norm: Normalise what is taken: with the block's own norm where ``feature_norms`` gave it one, else with
                the final norm.
            stop_early: Stop after the last block taken.
            output_fmt: ``"NCHW"`` or ``"NHWC"``.
            intermediates_only: Return the list alone.

        Returns:
            The final features ``(B, H, W, C)`` and a list of ``(B, C, H, W)`` or ``(B, H, W, C)`` maps, or the list.
        """
        if output_fmt not in ("NCHW", "NHWC"):
            raise UserError(f"output_fmt must be 'NCHW' or 'NHWC'; got {output_fmt!r}")
        taken = block_indices(indices, len(self.blocks))
        x, grid = self._embed(x)
        intermediates = []
        for i, block in enumerate(self.blocks[: max(taken) + 1] if stop_early or intermediates_only else self.blocks):
            x = self._run(block, x)
            if i in taken:
                feature = _crop(x, grid)
                if norm:
                    own = str(i) in self.feature_norms
                    feature = self.feature_norms[str(i)](feature) if own else self.norm(feature)
                intermediates.append(feature.permute(0, 3, 1, 2) if output_fmt == "NCHW" else feature)
        if intermediates_only:
            return intermediates
        return self.norm(_crop(x, grid)), intermediates

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove what the features of some blocks do not need.

        Args:
            indices: Blocks to keep the features of, as in :meth:`forward_intermediates`.
            prune_norm: Remove the final norm.
            prune_head: Remove pooling and classifier.

        Returns:
            The blocks taken, counted from the start.
        """
        taken = block_indices(indices, len(self.blocks))
        self.blocks = self.blocks[: max(taken) + 1]
        self.gpvit_config = None  # a file of it could not be built up again
        if prune_norm:
            self.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0, "")
        return taken

    @torch.no_grad()
    def group_maps(self, x: torch.Tensor) -> dict[int, GroupMaps]:
        """Compute which image tokens each group gathers, and which groups answer each token (paper Figure 6).

        Args:
            x: Images, ``(B, in_chans, height, width)``.

        Returns:
            For each group propagation block, by its index, two maps ``(B, heads, M, H, W)``. Where the image's
            token grid is odd, what the cut-off padding tokens took is missing from the sums over the grid.

        Raises:
            ValueError: If the model is in training mode, in which a forward pass changes batch statistics.
        """
        with keeping_group_maps(self) as maps:
            self.forward_features(x)
        return maps

    def _grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of the token grid of an image."""
        return (height + self.stride - 1) // self.stride, (width + self.stride - 1) // self.stride

    def _embed(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        """Make tokens ``(B, H, W, C)`` with their positions, and tell the size of the grid without its padding."""
        check_images(x, self.in_chans, MIN_SIDE)
        grid = self._grid(x.shape[2], x.shape[3])
        x = self.stem(x)
        return x + resize_pos_embed(self.pos_embed, (x.shape[1], x.shape[2])).expand_as(x), grid

    def _run(self, block: nn.Module, x: torch.Tensor) -> torch.Tensor:
        recomputes = self.grad_checkpointing and torch.is_grad_enabled() and not torch.compiler.is_exporting()
        return checkpoint_block(block, x) if recomputes else block(x)


def backbone_of(model: nn.Module) -> GPViT | None:
    """Find the GPViT that a model is or holds."""
    return next((module for module in model.modules() if isinstance(module, GPViT)), None)


def _reset(module: Any) -> None:
    if hasattr(module, "reset_parameters"):
        module.reset_parameters()


def _init_classifier(head: nn.Module) -> None:
    if isinstance(head, nn.Linear):
        nn.init.normal_(head.weight, std=0.01)
        nn.init.zeros_(head.bias)


def _init_linear(module: nn.Module) -> None:
    # Convolutions keep PyTorch's initialisation, as in the authors' code.
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _crop(x: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    if torch.compiler.is_exporting():  # a slice would be contiguous for some sizes only, which splits the graph
        return F.pad(x, (0, 0, 0, grid[1] - x.shape[2], 0, grid[0] - x.shape[1]))
    return x[:, : grid[0], : grid[1]]
