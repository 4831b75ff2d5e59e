"""Figure 5: multiply-accumulates of one block against the size of the image and against its width."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from gpvit.models.backbone import STRIDE
from gpvit.models.variants import build_block
from gpvit.profile.cost import profile_model
from studies.charts import COLOURS, chart, save_chart
from studies.tables.table import Column, ResultTable

BLOCKS: dict[str, dict[str, Any]] = {
    "self-attention": {"kind": "global", "num_heads": 12},
    "stripes": {"kind": "local", "num_heads": 12},
    "windows": {"kind": "window", "num_heads": 12},
    "GP, 64 groups": {"kind": "group", "num_heads": 6, "num_groups": 64},
    "GP, 32 groups": {"kind": "group", "num_heads": 6, "num_groups": 32},
    "GP, 16 groups": {"kind": "group", "num_heads": 6, "num_groups": 16},
}
"""Blocks of GPViT's layouts, by what they are called in the picture."""

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
        raise ValueError(f"sides are {[*sides, wide_side]}; blocks see one token of {STRIDE} pixels: give multiples")
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
    return ResultTable("figure_5", "Figure 5: MACs of one block", columns, rows, notes, "gpvit figure 5")


def count_block(name: str, height: int, width: int, dim: int) -> int:
    """Count the multiply-accumulates of a block, attention's products included.

    Args:
        name: A key of ``BLOCKS``.
        height: Of the grid, in tokens.
        width: Of the grid, in tokens.
        dim: Channels.
    """
    with torch.device("meta"):
        block = build_block(BLOCKS[name], dim=dim)
    # A block takes (B, H, W, C), which reads as an image of H channels and W x C pixels.
    return profile_model(block, (width, dim), in_chans=height).macs


def draw_macs(table: ResultTable, directory: str | Path) -> list[Path]:
    """Draw the counts and write them as ``figure_5.png`` and ``figure_5.svg``.

    Args:
        table: As `macs_table` makes it.
        directory: Folder to write into; made if absent.
    """
    width = table.rows[0]["width"]
    by_size = sorted((row for row in table.rows if row["width"] == width), key=lambda row: row["side"])
    wide_side = table.rows[-1]["side"]
    by_width = sorted((row for row in table.rows if row["side"] == wide_side), key=lambda row: row["width"])
    with chart(12.5, 4.3) as figure:
        axes = figure.subplots(1, 3)
        for i, name in enumerate(BLOCKS):
            style = {"color": COLOURS[i], "marker": "os^DvP"[i], "markersize": 4, "linewidth": 1.5}
            sides, macs = [row["side"] for row in by_size], [row[name] for row in by_size]
            axes[0].plot(sides, macs, label=name, **style)
            per_token = [1e3 * row[name] / row["tokens"] for row in by_size]
            axes[1].plot(sides, per_token, **style)
            axes[2].plot([row["width"] for row in by_width], [row[name] for row in by_width], **style)
        axes[0].set_title(f"Of the whole image, {width} channels")
        axes[0].set_ylabel("GMACs of a block (log)")
        axes[0].legend(fontsize=9)
        axes[1].set_title(f"Per token, {width} channels")
        axes[1].set_ylabel("million MACs per token")
        # Self-attention leaves the panel, so that what the others do can be seen.
        others = [1e3 * row[name] / row["tokens"] for row in by_size for name in BLOCKS if name != "self-attention"]
        axes[1].set_ylim(0, 1.6 * max(others))
        axes[2].set_title(f"By width, {wide_side} x {wide_side} px")
        axes[2].set_ylabel("GMACs of a block (log)")
        axes[2].set_yscale("log")
        _pixels(axes[0], [row["side"] for row in by_size])
        axes[0].set_yscale("log")
        _pixels(axes[1], [row["side"] for row in by_size])
        axes[2].set_xticks([row["width"] for row in by_width])
        axes[2].set_xlabel("channels")
        return save_chart(figure, directory, table.name)


def _pixels(axis: Axes, sides: Sequence[int]) -> None:
    axis.set_xscale("log")
    axis.set_xticks(list(sides))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("side of the square image (px, log)")
