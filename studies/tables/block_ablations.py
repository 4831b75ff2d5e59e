"""Tables 6 to 9, and the released code's own choices: what each ablated network costs, beside the published cells."""

from functools import partial
from typing import Any

import timm

from gpvit.zoo.catalog import MODELS
from gpvit.zoo.factory import create_model
from studies.ablations import Ablation, ablations
from studies.tables.counting import CONVENTION, COUNTED, count, counted_cells
from studies.tables.published import load_published
from studies.tables.table import Column, ResultTable

_PAPER_NETWORK = "gpvit_l1"  # that the paper's ablations vary
_TITLES: dict[int | str, str] = {
    6: "Table 6: resolution and kind of block",
    7: "Table 7: exchange in the four places of group propagation",
    8: "Table 8: group tokens of the four blocks",
    9: "Table 9: propagation between the groups",
    "design": "What else the released code chose",
}
_OWN_ROWS: dict[int | str, str] = {
    6: "LePE stripes + GP",
    7: "LePE stripes, group propagation",
    8: "64-32-32-16",
    9: "MLP-Mixer",
    "design": "as published",
}
_WITH_SEGFORMER = (6, 7)

_GMACS = Column("published_gmacs", "published")
_SEGFORMER = [Column(f"{column.key}_ade20k", f"SegFormer's {column.header}", column.digits) for column in COUNTED[1:]]
_SEGFORMER_GMACS = Column("published_gmacs_ade20k", "published")
_TOP1, _MIOU = Column("published_top1", "top-1 (%)"), Column("published_miou", "mIoU (%)")
_COLUMNS: dict[int | str, list[Column]] = {
    6: [*COUNTED, _GMACS, *_SEGFORMER, _SEGFORMER_GMACS, _TOP1, _MIOU],
    7: [*COUNTED, *_SEGFORMER, _TOP1, _MIOU],
    8: [*COUNTED, _TOP1],
    9: [*COUNTED, _TOP1],
    "design": [*COUNTED],
}


def ablation_table(number: int | str, quick: bool = False) -> ResultTable:
    """Count the networks of an ablation as classifiers and, those of Tables 6 and 7, as SegFormers too.

    Args:
        number: A table of :func:`studies.ablations.ablations`.
        quick: Count the first two rows of the smallest network alone, which has no published cells.
    """
    backbone = "gpvit_nano" if quick else _PAPER_NETWORK
    columns = [Column("network", f"{backbone} with"), *_COLUMNS[number]]
    rows = [_row(number, row) for row in ablations(number, backbone)[: 2 if quick else None]]
    cells = [{column.key: row.get(column.key) for column in columns} for row in rows]
    return ResultTable(f"table_{number}", _TITLES[number], columns, cells, _notes(number))


def _row(number: int | str, ablation: Ablation) -> dict[str, Any]:
    cells: dict[str, Any] = {"network": ablation.label}
    cells |= counted_cells(count(partial(timm.create_model, ablation.backbone, **ablation.arguments), (224, 224)))
    segformer = f"segformer_{ablation.backbone}"
    if number in _WITH_SEGFORMER:
        build = partial(create_model, segformer, backbone_kwargs=ablation.arguments)
        cells |= {f"{key}_ade20k": value for key, value in counted_cells(count(build, (512, 512))).items()}
    if ablation.backbone != _PAPER_NETWORK:
        return cells
    if ablation.label == _OWN_ROWS[number]:
        cells["network"] += f" = {ablation.backbone}"
        return cells | _published_of(ablation.backbone, segformer)
    published = load_published().rows(f"table{number}").get(ablation.label)
    return cells | {f"published_{key}": figure for key, figure in (published.figures if published else {}).items()}


def _published_of(classifier: str, segformer: str) -> dict[str, float | None]:
    return {
        "published_gmacs": MODELS[classifier].published_gmacs,
        "published_gmacs_ade20k": MODELS[segformer].published_gmacs,
        "published_top1": MODELS[classifier].weights["in1k"].metrics["top1"],
        "published_miou": MODELS[segformer].weights["ade20k"].metrics["miou"],
    }


def _notes(number: int | str) -> list[str]:
    on_ade20k = " SegFormer's: of the same backbone with that head, one image of 512x512, 150 classes."
    notes = [
        f"{CONVENTION} One image of 224x224, 1000 classes.{on_ade20k if number in _WITH_SEGFORMER else ''} The rows are"
        " the arguments of `studies.ablations`."
    ]
    if number != "design":
        notes.append(
            "MACs headed `published` and all scores are the paper's and the README's (top-1 on ImageNet-1k, mIoU on"
            " ADE20K with SegFormer): nothing was trained or scored here. Of empty cells no copy could be found."
        )
    if finding := load_published().findings.get(f"table{number}"):
        notes.append(f"The paper's text says: {finding}")
    return notes
