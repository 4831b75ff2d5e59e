"""Table 2: classifiers on ImageNet-1k."""

from gpvit.zoo.catalog import MODELS
from studies.tables.model_rows import COSTS, MODEL, NOTES, REMARK, legend, other_rows, own_row, paper_models
from studies.tables.published import load_published
from studies.tables.table import Column, ResultTable

_SIZE = (224, 224)


def imagenet_table(quick: bool = False) -> ResultTable:
    """Count the paper's classifiers, and others where timm has them, beside what is published of them.

    Args:
        quick: Make the first row of each alone.
    """
    names = paper_models(quick=quick)
    rows = [own_row(name, _SIZE) | {"top1": MODELS[name].weights["in1k"].metrics["top1"]} for name in names]
    rows += other_rows("table2", _SIZE, quick)
    again = load_published().rows("remeasured")
    measured = ", ".join(f"{name} {row.figures['top1']:.2f}" for name, row in again.items() if "top1" in row.figures)
    notes = [
        *NOTES,
        f"The released weights scored by others, top-1 in percent: {measured} (`mmpretrain`).",
        legend([*rows, *({"remark": row.source} for row in again.values())]),
    ]
    columns = [MODEL, *COSTS, Column("top1", "top-1 (%)"), REMARK]
    return ResultTable("table_2", "Table 2: ImageNet-1k, one image of 224x224", columns, rows, notes)
