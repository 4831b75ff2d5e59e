"""Exports a model: recorded as a graph, written in a format, compared with the model, and only then put in place."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from torch import nn

from gpvit.data.files import list_images
from gpvit.errors import UserError
from gpvit.export.description import describe, in_chans_of
from gpvit.export.formats import FORMATS, OPSETS, Change, save
from gpvit.export.graphs import build_graph
from gpvit.export.parity import check_parity
from gpvit.export.tracing import trace
from gpvit.io import located, replacing
from gpvit.models.backbone import MIN_SIDE
from gpvit.models.folding import fold
from gpvit.runtime.metadata import Metadata
from gpvit.zoo.exported import ExportedModel
from gpvit.zoo.factory import is_untrained, open_model, untrained_remark

Format = Literal["onnx", "openvino", "pt2", "aoti"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]


def export(
    model: nn.Module | str | Path,
    path: str | Path,
    *,
    format: Format | None = None,
    precision: Precision = "fp32",
    fixed: tuple[int, int] | None = None,
    uint8: bool = False,
    opset: int = 20,
    groups: bool = False,
    calibration: str | Path | None = None,
    data: str | Path | None = None,
    max_drop: float = 0.01,
) -> Metadata:
    """Export a model to a file that takes any number of images of any size, and answers as the model does.

    The file is compared with the model before it takes its place (:mod:`gpvit.export.parity`).

    Args:
        model: A module, which is put into evaluation mode; a name of the catalog such as ``"gpvit_l1.in1k"``; or the
            path of a checkpoint that describes itself, or of a run's folder.
        path: Where to write, ending in ``.onnx``, ``.xml`` (with a ``.bin`` beside it) or ``.pt2``.
        format: By default that of the ending; ``"aoti"``, machine code in a ``.pt2``, has to be named.
        precision: What the file computes in; its inputs and outputs are the same in each.
        fixed: Height and width that all images will have, for runtimes that need to know them.
        uint8: Take bytes ``(B, H, W, C)``, and answer with probabilities or labels in place of logits.
        opset: Version of ONNX's operators.
        groups: Give the maps of each block of group propagation as well.
        calibration: Folder of images like those to come, from which int8 learns the ranges of values.
        data: A dataset, as :func:`gpvit.tasks.evaluate.find_data` finds it, to score int8 on.
        max_drop: Most that the score on it may fall, of 1.

    Returns:
        What the file says of itself, with the table of parity.

    Raises:
        FileNotFoundError: If a checkpoint's path leads nowhere, or a library or compiler is missing.
        UserError: If the model or a setting does not fit, or the file does not answer as the model does.
    """
    target = located(path)
    format = _format(target, format)
    _check_settings(format, precision, fixed, opset)
    _check_calibration(precision, calibration, data, uint8)
    if not isinstance(model, nn.Module):
        if is_untrained(model):
            warnings.warn(untrained_remark(model), stacklevel=2)
        model = open_model(model)
    if isinstance(model, ExportedModel):
        raise UserError(
            f"{model.session.source} is an exported file already; export the checkpoint that it was made of"
        )
    model = _on_cpu(model.eval())
    how = FORMATS[format]
    graph: Any = build_graph(fold(model), uint8, groups)
    metadata = describe(
        model,
        tuple(graph.output_names),
        input="uint8" if uint8 else "float",
        fixed_size=None if fixed is None else list(fixed),
        precision=precision,
        opset=opset if format in ("onnx", "openvino") else None,
    )
    with replacing(target) as temporary, _naming(target):  # what cannot be written to is told before minutes are spent
        program = trace(graph, in_chans_of(model), uint8, fixed)
        change = _change(metadata, graph, model, calibration) if format == "onnx" else None
        parts = how.convert(program, metadata, change)
        save(temporary, parts, metadata)
        rows = check_parity(how.open(temporary, metadata), model, metadata)
        if data is not None:
            from gpvit.export.scores import check_score  # brings all of training

            rows.append(check_score(model, temporary, data, max_drop))
        metadata = replace(metadata, parity=rows)
        save(temporary, parts, metadata)
        for beside in temporary.parent.iterdir():  # OpenVINO's weights, before the graph that needs them
            if beside != temporary:
                beside.replace(target.parent / beside.name)
    return metadata


@contextmanager
def _naming(target: Path) -> Iterator[None]:
    """Name the file that a full disk did not take, as the system does not."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(target)
        raise


def _on_cpu(model: nn.Module) -> nn.Module:
    """Return a model that is on the CPU and in float32, as graphs are; else a copy that is."""
    weight = next(model.parameters())
    if (weight.device.type, weight.dtype) == ("cpu", torch.float32):
        return model
    return deepcopy(model).to("cpu", torch.float32)


def _change(metadata: Metadata, graph: nn.Module, model: nn.Module, calibration: str | Path | None) -> Change | None:
    """Return what changes a model of ONNX to its precision."""
    if metadata.precision == "fp32":
        return None
    from gpvit.export.precisions import calibration_images, linear_layers, to_float16, to_int8

    if calibration is None:
        return to_float16
    return partial(to_int8, images=calibration_images(metadata, calibration), layers=linear_layers(graph, model))


def _format(target: Path, format: str | None) -> Format:
    """Return the format that an ending stands for, or the one named, if the ending is its own."""
    if target.is_dir():
        raise UserError(f"{target} is a folder; name a file in it, such as {target / 'model.onnx'}")
    endings = {name: each.suffix for name, each in FORMATS.items()}
    known: tuple[Format, ...] = get_args(Format)
    if format is not None and format not in known:
        raise UserError(f"format {format!r}: choose {', '.join(known)}")
    if format is None:
        format = next((name for name, suffix in endings.items() if suffix == target.suffix), None)
    if format is None or endings[format] != target.suffix:
        listed = ", ".join(f"{suffix} for {name}" for name, suffix in endings.items())
        raise UserError(f"{target} ends in {target.suffix or 'nothing'!r}; the endings are {listed}")
    if FORMATS[format].suffix == ".xml" and target.with_suffix(".bin").exists() and not target.exists():
        raise UserError(
            f"{target.with_suffix('.bin')}, where the weights would lie, is there already; name another file"
        )
    if missing := [library for library in FORMATS[format].libraries if find_spec(library) is None]:
        raise UserError(f"to export to {format}, install {', '.join(missing)}: pip install 'gpvit[export]'")
    return cast(Format, format)


def _check_settings(format: str, precision: str, fixed: tuple[int, int] | None, opset: int) -> None:
    if precision not in get_args(Precision):
        raise UserError(f"precision {precision!r}: choose {', '.join(get_args(Precision))}")
    if precision not in FORMATS[format].precisions:
        others = [name for name, each in FORMATS.items() if precision in each.precisions]
        raise UserError(
            f"no runtime computes {format} in {precision}; take {precision} as {' or '.join(others)}, "
            f"or {format} in {', '.join(FORMATS[format].precisions)}"
        )
    if fixed is not None and (len(fixed) != 2 or min(fixed) < MIN_SIDE):
        raise UserError(f"fixed {fixed}: give a height and a width of {MIN_SIDE} pixels or more")
    if opset not in OPSETS:
        raise UserError(f"opset {opset}: choose {OPSETS[0]} to {OPSETS[-1]}; ONNX Runtime reads 20 from its 1.17 on")


def _check_calibration(precision: str, calibration: str | Path | None, data: str | Path | None, uint8: bool) -> None:
    if precision != "int8":
        if calibration is not None or data is not None:
            raise UserError(f"leave out calibration and data, which are for int8; the precision is {precision}")
    elif calibration is None:
        raise UserError(
            "int8 needs a folder of images like those to come, for the ranges of values: --calibration FOLDER; "
            "a few hundred suffice, and without them accuracy would be lost unseen"
        )
    else:
        list_images(calibration)  # which refuses a folder without any
        if data is not None and uint8:
            raise UserError("leave out data, or uint8: what takes bytes is not evaluated")
