"""Parameters and multiply-accumulates of any model, by part, from one forward pass over shapes alone.

One MAC is one multiply-accumulate of a convolution, a linear layer or an attention product (query-key, weight-value).
Norms, activations, resizing and pooling are not counted. The 5.8 G that the paper prints for GPViT-L1 are
without attention products.
"""

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gpvit.errors import UserError

# Products with a weight. Every other operation that the counter knows multiplies two activations: attention.
_WEIGHT_OPERATIONS = {getattr(torch.ops.aten, name) for name in ("mm", "addmm", "convolution", "_convolution")}
_PROPOSALS, _DETECTIONS = 1000, 100  # of an image, that Mask R-CNN classifies and makes masks of at the most

TOTALS = {
    "parameters": ("parameters (M)", 1e6),
    "macs": ("MACs (G)", 1e9),
    "macs_without_attention": ("without attention (G)", 1e9),
}
_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)


@dataclass(frozen=True)
class CostRow:
    """The cost of one part; `(own)` is what a module holds or computes outside its listed parts."""

    part: str
    parameters: int  # one shared by several parts counts in the first
    macs: int  # of the whole batch, attention products included
    macs_without_attention: int


@dataclass(frozen=True)
class Cost:
    """The cost of one forward pass of a model: a row for each part, and their sums."""

    size: tuple[int, int]
    in_chans: int
    batch_size: int
    rows: tuple[CostRow, ...]
    parameters: int
    macs: int
    macs_without_attention: int

    def table(self, title: str) -> Table:
        """Return the rows and their totals as a table to print."""
        table = Table("part", title=title, show_footer=True)
        table.columns[0].footer = "total"
        for name, (header, unit) in TOTALS.items():
            table.add_column(header, f"{getattr(self, name) / unit:.3f}", justify="right")
        for row in self.rows:
            table.add_row(row.part, *(f"{getattr(row, name) / unit:.3f}" for name, (_, unit) in TOTALS.items()))
        return table


def profile_model(
    model: nn.Module, size: tuple[int, int], in_chans: int = 3, batch_size: int = 1, depth: int = 1
) -> Cost:
    """Count the parameters and multiply-accumulates of a model in evaluation mode, by part.

    Nothing is computed, so any size takes the same short time; the model itself is neither run nor changed. Of Mask
    R-CNN's second stage 1,000 proposals and 100 masks of each image are counted. `depth` is how many levels of
    submodules are listed as parts; a list or sequence of modules is no level of its own.
    """
    if depth < 1:
        raise UserError(f"depth is {depth}; give 1 for the model's own parts, or more to look into them")
    shadow = _on_meta(model).eval()
    if getattr(model, "task", "") == "detection":
        shadow.forward = partial(_forward_detector, shadow)
    counter = FlopCounterMode(display=False)
    # Without gradients, a linear layer on a transposed input becomes a batched product and would pass for attention.
    with torch.enable_grad(), counter:
        shadow(torch.empty(batch_size, in_chans, *size, device="meta"))
    counts = counter.get_flop_counts()

    rows: list[CostRow] = []
    unclaimed = set(shadow.parameters())
    for name, module in parts_of(shadow, depth):
        below = [row for row in rows if row.part.startswith(name and f"{name}.")]
        claimed = unclaimed & set(module.parameters())
        unclaimed -= claimed
        flops = _flops_inside(module, ".".join(filter(None, [type(shadow).__name__, name])), counts)
        weighted = sum(count for operation, count in flops.items() if operation in _WEIGHT_OPERATIONS)
        row = CostRow(
            part=".".join(filter(None, [name, "(own)"])) if below or not name else name,
            parameters=sum(parameter.numel() for parameter in claimed),
            macs=flops.total() // 2 - sum(row.macs for row in below),
            macs_without_attention=weighted // 2 - sum(row.macs_without_attention for row in below),
        )
        if row.parameters or row.macs:
            rows.append(row)
    totals = {name: sum(getattr(row, name) for row in rows) for name in TOTALS}
    return Cost(size, in_chans, batch_size, tuple(rows), **totals)


def _forward_detector(model: Any, images: torch.Tensor) -> None:
    """Run a detector as far as shapes tell what it does; its second stage does the most that it is asked for."""
    features = list(model.backbone(images).values())
    if not model.has_masks:
        model.head(features)
        return
    model.rpn.head(features)
    heads, channels = model.roi_heads, features[0].shape[1]
    boxes, masks = (images.new_empty(len(images) * n, channels, s, s) for n, s in ((_PROPOSALS, 7), (_DETECTIONS, 14)))
    heads.box_predictor(heads.box_head(boxes))
    heads.mask_predictor(heads.mask_head(masks))


def _flops_inside(module: nn.Module, name: str, counts: dict[str, dict[Any, int]]) -> Counter[Any]:
    """Return the operations of a module, those of its submodules included."""
    if name in counts:
        return Counter(counts[name])
    # Not called itself: a list, or a model that is entered by another method than forward.
    inside = (_flops_inside(child, f"{name}.{own}", counts) for own, child in module.named_children())
    return sum(inside, Counter())


def _on_meta(model: nn.Module) -> nn.Module:
    """Return a copy of the model whose tensors have shapes but no memory, and whose parameters all want gradients."""
    shapes: dict[int, torch.Tensor] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.is_floating_point())
        for p in model.parameters()
    }
    shapes |= {id(b): torch.empty_like(b, device="meta") for b in model.buffers()}
    return copy.deepcopy(model, shapes)


def parts_of(module: nn.Module, depth: int, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the dotted name and the module of every part, each after the parts inside it; the last is the model."""
    for child_name, child in module.named_children():
        inside = depth if isinstance(child, _CONTAINERS) else depth - 1
        path = f"{name}.{child_name}" if name else child_name
        if inside:
            yield from parts_of(child, inside, path)
        else:
            yield path, child
    yield name, module
