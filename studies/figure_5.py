"""Figure 5: multiply-accumulates of one block against the size of the image and against its width."""

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure

from gpvit.errors import UserError
from gpvit.models.backbone import STRIDE
from gpvit.models.variants import build_block
from gpvit.profile.cost import profile_model
from studies.report import COLOURS, MARKERS, Column, ResultTable, pixel_axis

BLOCKS: dict[str, dict[str, Any]] = {
    "self-attention": {"kind": "global", "num_heads": 12},
    "stripes": {"kind": "local", "num_heads": 12},
    "windows": {"kind": "window", "num_heads": 12},
    "GP, 64 groups": {"kind": "group", "num_heads": 6, "num_groups": 64},
    "GP, 32 groups": {"kind": "group", "num_heads": 6, "num_groups": 32},
    "GP, 16 groups": {"kind": "group", "num_heads": 6, "num_groups": 16},
}
"""Blocks of GPViT's layouts, by what they are called in the chart."""

SIDES = (224, 384, 512, 768, 1024, 1536, 2048)
"""Of square images, in pixels."""

WIDTHS = (216, 348, 432, 624)
"""Of GPViT-L1 to L4."""

WIDE_SIDE = 1024
"""The image that widths are compared on: as many tokens as one of 800 x 1280 pixels, within 3 %."""


def macs_table(sides: Sequence[int] = SIDES, widths: Sequence[int] = WIDTHS, wide_side: int = WIDE_SIDE) -> ResultTable:
    """Count every block at every size in the smallest width, and in every width at one size.

    Args:
        sides: Of square images, in pixels.
        widths: Channels.
        wide_side: Side of the image that the widths are compared on.

    Returns:
        A row for each size and width: tokens, and of each block billions of multiply-accumulates.

    Raises:
        ValueError: If a side is not a multiple of a token's, 8 pixels.
    """
    if not sides or any(side < STRIDE or side % STRIDE for side in (*sides, wide_side)):
        raise UserError(f"sides are {[*sides, wide_side]}; blocks see one token of {STRIDE} pixels: give multiples")
    settings = dict.fromkeys([*((side, widths[0]) for side in sides), *((wide_side, width) for width in widths)])
    rows = []
    for side, width in settings:
        macs = {name: count_block(name, side // STRIDE, side // STRIDE, width) / 1e9 for name in BLOCKS}
        rows.append({"side": side, "tokens": (side // STRIDE) ** 2, "width": width, **macs})
    columns = [Column("side", "image (px)"), Column("tokens", "tokens"), Column("width", "channels")]
    columns += [Column(name, name, 2) for name in BLOCKS]
    notes = [
        "Billions of multiply-accumulates of one block, its feed-forward network and convolutions included, on a square"
        f" image at stride {STRIDE}; counted on the blocks that the models are made of. Stripes are 2 tokens wide,"
        " windows 7 x 7, padded where the image is no multiple. Heads make no difference.",
    ]
    return ResultTable("figure_5", "Figure 5: MACs of one block", columns, rows, notes)


def count_block(name: str, height: int, width: int, dim: int) -> int:
    """Count the multiply-accumulates of a block of ``BLOCKS``, attention's products included.

    Args:
        name: Of the block.
        height: Of the grid, in tokens.
        width: Of the grid, in tokens.
        dim: Channels.
    """
    with torch.device("meta"):
        block = build_block(BLOCKS[name], dim=dim)
    # A block takes (B, H, W, C), which reads as an image of H channels and W x C pixels.
    return profile_model(block, (width, dim), in_chans=height).macs


def draw_macs(figure: Figure, table: ResultTable) -> None:
    """Draw the counts of `macs_table`."""
    figure.set_size_inches(12.5, 4.3)
    width, wide_side = table.rows[0]["width"], table.rows[-1]["side"]
    by_size = sorted((row for row in table.rows if row["width"] == width), key=lambda row: row["side"])
    by_width = sorted((row for row in table.rows if row["side"] == wide_side), key=lambda row: row["width"])
    sides, whole, per_token, widths = [row["side"] for row in by_size], *figure.subplots(1, 3)
    for name, color, marker in zip(BLOCKS, COLOURS, MARKERS, strict=False):
        style: dict[str, Any] = {"color": color, "marker": marker, "markersize": 4, "linewidth": 1.5}
        whole.plot(sides, [row[name] for row in by_size], label=name, **style)
        per_token.plot(sides, [1e3 * row[name] / row["tokens"] for row in by_size], **style)
        widths.plot([row["width"] for row in by_width], [row[name] for row in by_width], **style)
    whole.set(title=f"Of the whole image, {width} channels", ylabel="GMACs of a block (log)", yscale="log")
    whole.legend(fontsize=9)
    # Self-attention leaves the panel, so that what the others do can be seen.
    others = [1e3 * row[name] / row["tokens"] for row in by_size for name in BLOCKS if name != "self-attention"]
    top = 1.6 * max(others)
    per_token.set(title=f"Per token, {width} channels", ylabel="million MACs per token", ylim=(0, top))
    widths.set(title=f"By width, {wide_side} x {wide_side} px", ylabel="GMACs of a block (log)", yscale="log")
    widths.set(xlabel="channels", xticks=[row["width"] for row in by_width])
    for axes in (whole, per_token):
        pixel_axis(axes, sides, "side of the square image (px, log)")
