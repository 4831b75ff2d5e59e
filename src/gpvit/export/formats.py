"""The formats: how a recorded graph becomes bytes, how metadata are sealed into them, and what runs them."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.export import ExportedProgram

from gpvit.devices import require_compiler
from gpvit.export.parity import Run
from gpvit.runtime.container import seal_onnx, seal_openvino, seal_pt2
from gpvit.runtime.metadata import Metadata
from gpvit.zoo.exported import open_any

if TYPE_CHECKING:
    import onnx

OPSETS = range(18, 24)
"""Versions of ONNX's operators that a file may be written in: what the exporter knows, and ONNX Runtime runs."""

Parts = tuple[bytes, ...]
Change = Callable[[Any], "onnx.ModelProto"]
"""Changes a model of ONNX, to another precision."""


@dataclass(frozen=True)
class Format:
    """A format of exported files.

    Attributes:
        suffix: How the names of its files end.
        libraries: What writes it, beside torch.
        precisions: What it can hold that some runtime computes.
        convert: Turns a recorded graph, described by metadata and perhaps to be changed, into the bytes of its files.
        open: Opens what was saved, to be run.
    """

    suffix: str
    libraries: tuple[str, ...]
    precisions: tuple[str, ...]
    convert: Callable[[ExportedProgram, Metadata, Change | None], Parts]
    open: Callable[[Path, Metadata], Run] = lambda path, metadata: open_any(path).run


def save(path: Path, parts: Parts, metadata: Metadata) -> None:
    """Write the bytes of a format's files, sealed with metadata."""
    if path.suffix == ".xml":
        path.with_suffix(".bin").write_bytes(parts[1])
    seals: dict[str, Callable[..., bytes]] = {".onnx": seal_onnx, ".xml": seal_openvino, ".pt2": seal_pt2}
    path.write_bytes(seals[path.suffix](*parts, metadata))


def _to_onnx(program: ExportedProgram, metadata: Metadata, change: Change | None) -> Parts:
    from gpvit.export.onnx import to_onnx

    assert metadata.opset is not None
    model = to_onnx(program, tuple(metadata.outputs), metadata.opset)
    return ((model if change is None else change(model)).SerializeToString(),)


def _to_openvino(program: ExportedProgram, metadata: Metadata, change: Change | None) -> Parts:
    import openvino

    (onnx,) = _to_onnx(program, metadata, None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(onnx)
        openvino.save_model(openvino.convert_model(path), path.with_suffix(".xml"), metadata.precision == "fp16")
        return path.with_suffix(".xml").read_bytes(), path.with_suffix(".bin").read_bytes()


def _to_pt2(program: ExportedProgram, metadata: Metadata, change: Change | None) -> Parts:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt2"
        torch.export.save(program, path)
        return (path.read_bytes(),)


def _to_aoti(program: ExportedProgram, metadata: Metadata, change: Change | None) -> Parts:
    require_compiler()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt2"
        torch._inductor.aoti_compile_and_package(program, package_path=path)
        return (path.read_bytes(),)


def _open_aoti(path: Path, metadata: Metadata) -> Run:
    model = torch._inductor.aoti_load_package(path)

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            outputs = model(torch.from_numpy(images))
        return {name: output.numpy() for name, output in zip(metadata.outputs, outputs, strict=True)}

    return run


_ONNX = ("onnx", "onnxscript", "onnxruntime")
FORMATS = {
    "onnx": Format(".onnx", _ONNX, ("fp32", "fp16", "int8"), _to_onnx),
    "openvino": Format(".xml", (*_ONNX, "openvino"), ("fp32", "fp16", "bf16"), _to_openvino),
    "pt2": Format(".pt2", (), ("fp32",), _to_pt2),
    "aoti": Format(".pt2", (), ("fp32",), _to_aoti, _open_aoti),
}
"""The first one of an ending is what the ending stands for."""
