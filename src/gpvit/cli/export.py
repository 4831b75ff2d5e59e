"""The verb `gpvit export`."""

import sys
from inspect import signature
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gpvit.errors import UserError
from gpvit.export.exporting import Format, Precision
from gpvit.export.exporting import export as write
from gpvit.profile.workload import parse_size
from gpvit.runtime.metadata import Metadata
from gpvit.zoo.factory import is_untrained, open_model, untrained_remark

_DEFAULTS = {name: each.default for name, each in signature(write).parameters.items()}


def export(
    model: str,
    out: list[str],
    format: Format | None = None,
    precision: Precision = "fp32",
    fixed: str | None = None,
    uint8: bool = False,
    opset: int = 20,
    groups: bool = False,
    weights: str | None = None,
    calibration: str | None = None,
    data: str | None = None,
    max_drop: float = 0.01,
    web: str | None = None,
) -> None:
    """Write a model as a file for ONNX Runtime, OpenVINO or torch that answers as the model does, or write nothing.

    Args:
        model: Name of a model such as gpvit_l1.in1k, path of a checkpoint, or folder of a run; with --web also
            an exported .onnx.
        out: File to write: .onnx, .xml (OpenVINO, a .bin beside it) or .pt2 (torch.export).
        format: By default that of the ending; aoti makes machine code, as a .pt2.
        precision: fp16 is for onnx and openvino, bf16 for openvino, int8 for onnx.
        fixed: Height x width of all images, as 224x224; by default any.
        uint8: Take bytes, and answer with probabilities or label maps.
        opset: Version of ONNX's operators, 18 to 23.
        groups: Answer with the maps of group propagation as well.
        weights: Tag or file of the weights, for a name without tag.
        calibration: For int8: folder of images like those to come.
        data: For int8: dataset to score on, as of `gpvit evaluate`.
        max_drop: Most that this score may fall, of 1.
        web: Folder for a page that runs the model in the browser, in place of a file.
    """
    if len(out) != (web is None):
        raise UserError("name one file to write, as model.onnx, or a page's folder: --web FOLDER")
    size = None if fixed is None else parse_size(fixed)
    if is_untrained(model, weights):
        print(untrained_remark(model), file=sys.stderr)
    settings: dict[str, Any] = {"format": format, "precision": precision, "fixed": size, "uint8": uint8, "opset": opset}
    settings |= {"calibration": calibration, "data": data, "max_drop": max_drop}
    if web is not None:
        from gpvit.export.web import write_page

        changed = [f"--{name}" for name, value in settings.items() if value != _DEFAULTS[name]]
        if changed or groups:
            raise UserError(
                f"leave out {', '.join(changed or ['--groups'])}: the page takes a file of its own, with groups"
            )
        metadata = write_page(model if model.endswith(".onnx") else open_model(model, weights), web)
        Console().print(_parity(metadata))
        print(f"open {Path(web, 'index.html')} in a browser, or put the folder on any host of static files")
        return
    (path,) = out
    metadata = write(open_model(model, weights), path, groups=groups, **settings)
    Console().print(_parity(metadata))
    for row in metadata.parity:
        if "score" in row:
            print(f"{row['score']} of {row['images']} images: {row['before']:.2%} before, {row['after']:.2%} after")
    print(f"{path}: {metadata.name} in {metadata.precision}, {Path(path).stat().st_size / 1e6:.1f} MB")


def _parity(metadata: Metadata) -> Table:
    """Lay out what was compared, the worst batch of each output and size."""
    table = Table(title="the file against the model", box=None, pad_edge=False)
    for column in ("output", "size", "difference", "agreement"):
        table.add_column(column, justify="left" if column == "output" else "right")
    for (output, size), rows in groupby(metadata.parity, lambda row: (row.get("output"), row.get("size"))):
        if output is None:  # of scores
            continue
        group = list(rows)
        difference = max((row["difference"] for row in group if "difference" in row), default=None)
        agreement = min((row["agreement"] for row in group if "agreement" in row), default=None)
        table.add_row(
            output,
            size,
            "" if difference is None else f"{difference:.1e}",
            "" if agreement is None else f"{agreement:.2%}",
        )
    return table
