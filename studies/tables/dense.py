"""Tables 3 to 5: detectors on COCO and segmentation models on ADE20K."""

from collections.abc import Sequence
from typing import Any

from gpvit.profile.workload import format_size
from gpvit.zoo.catalog import MODELS
from studies.tables.model_rows import COSTS, MODEL, NOTES, REMARK, legend, other_rows, own_row, paper_models
from studies.tables.table import Column, ResultTable

_DETECTION_SIZE = (800, 1280)
_SEGMENTATION = {"upernet": ("UPerNet", (512, 2048)), "segformer": ("SegFormer", (512, 512))}
_AVERAGE_PRECISION = "AP in percent; 1x is 12 epochs, 3x is 36 epochs on images of several scales."


def mask_rcnn_table(quick: bool = False) -> ResultTable:
    """Count the paper's Mask R-CNNs beside what is published of them and of others.

    Args:
        quick: Make the first row of each alone.
    """
    counted = "MACs are with 1000 proposals in the second stage and 100 masks."
    return _detection(3, "mask_rcnn", "Mask R-CNN", ("box", "mask"), [_AVERAGE_PRECISION, counted], quick)


def retinanet_table(quick: bool = False) -> ResultTable:
    """Count the paper's RetinaNets beside what is published of them and of others.

    Args:
        quick: Make the first row of each alone.
    """
    return _detection(4, "retinanet", "RetinaNet", ("box",), [_AVERAGE_PRECISION], quick)


def segmentation_table(quick: bool = False) -> ResultTable:
    """Count the paper's UPerNets and SegFormers beside what is published of them and of others.

    Args:
        quick: Make the first row of each alone.
    """
    rows: list[dict[str, Any]] = []
    for system, (title, size) in _SEGMENTATION.items():
        own = [own_row(name, size) | MODELS[name].weights["ade20k"].metrics for name in paper_models(system, quick)]
        others = other_rows(f"table5_{system}", size, quick)
        rows += [{"head": f"{title}, {format_size(size)}", **row} for row in (*own, *others)]
    columns = [MODEL, Column("head", "head, image"), *COSTS, Column("miou", "mIoU (%)"), REMARK]
    notes = [
        "mIoU of one scale. UPerNet's parameters are with the auxiliary head, which only training uses; its MACs are"
        " without. Others' UPerNets that are counted are this package's head on timm's backbone.",
        legend(rows),
    ]
    return ResultTable("table_5", "Table 5: ADE20K, one image", columns, rows, [*NOTES, *notes])


def _detection(
    number: int, system: str, title: str, kinds: Sequence[str], notes: Sequence[str], quick: bool
) -> ResultTable:
    names = [(kind, schedule) for schedule in ("1x", "3x") for kind in kinds]
    rows = []
    for model in paper_models(system, quick):
        weights = MODELS[model].weights
        scores = {f"{kind}_{schedule}": weights[f"coco_{schedule}"].metrics[f"{kind}_ap"] for kind, schedule in names}
        rows.append(own_row(model, _DETECTION_SIZE) | scores)
    rows += other_rows(f"table{number}", _DETECTION_SIZE, quick)
    columns = [
        MODEL,
        *(column for column in COSTS if any(row.get(column.key) is not None for row in rows)),
        *(Column(f"{kind}_{schedule}", f"{kind} {schedule}") for kind, schedule in names),
        REMARK,
    ]
    cells = [{column.key: row.get(column.key) for column in columns} for row in rows]
    heading = f"Table {number}: {title} on COCO, one image of {format_size(_DETECTION_SIZE)}"
    return ResultTable(f"table_{number}", heading, columns, cells, [*NOTES, *notes, legend(rows)])
