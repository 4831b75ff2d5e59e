"""The formats: how a recorded graph becomes bytes, how metadata are sealed into them, and what runs them."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.export import ExportedProgram

from gpvit.devices import require_compiler
from gpvit.export.graphs import INPUT
from gpvit.export.onnx import to_onnx
from gpvit.export.parity import Run
from gpvit.runtime.container import seal_onnx, seal_openvino, seal_pt2
from gpvit.runtime.metadata import Metadata

Parts = tuple[bytes, ...]


@dataclass(frozen=True)
class Format:
    """A format of exported files.

    Attributes:
        suffix: How the names of its files end.
        libraries: What writes it, beside torch.
        precisions: What it can hold that some runtime computes.
        convert: Turns a recorded graph, described by metadata, into the bytes of its files.
        save: Writes these bytes, sealed with metadata, to a path.
        open: Opens what was saved, to be run.
    """

    suffix: str
    libraries: tuple[str, ...]
    precisions: tuple[str, ...]
    convert: Callable[[ExportedProgram, Metadata], Parts]
    save: Callable[[Path, Parts, Metadata], None]
    open: Callable[[Path, Metadata], Run]


def _to_onnx(program: ExportedProgram, metadata: Metadata) -> Parts:
    assert metadata.opset is not None
    return (to_onnx(program, tuple(metadata.outputs), metadata.opset),)


def _save_onnx(path: Path, parts: Parts, metadata: Metadata) -> None:
    path.write_bytes(seal_onnx(parts[0], metadata))


def _open_onnx(path: Path, metadata: Metadata) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = metadata.outputs
    return lambda images: dict(zip(names, session.run(names, {INPUT: images}), strict=True))


def _to_openvino(program: ExportedProgram, metadata: Metadata) -> Parts:
    import openvino

    (onnx,) = _to_onnx(program, metadata)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(onnx)
        openvino.save_model(openvino.convert_model(path), path.with_suffix(".xml"), metadata.precision == "fp16")
        return path.with_suffix(".xml").read_bytes(), path.with_suffix(".bin").read_bytes()


def _save_openvino(path: Path, parts: Parts, metadata: Metadata) -> None:
    path.with_suffix(".bin").write_bytes(parts[1])
    path.write_bytes(seal_openvino(*parts, metadata))


def _open_openvino(path: Path, metadata: Metadata) -> Run:
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: {name: compiled(images)[name] for name in metadata.outputs}


def _to_pt2(program: ExportedProgram, metadata: Metadata) -> Parts:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt2"
        torch.export.save(program, path)
        return (path.read_bytes(),)


def _save_pt2(path: Path, parts: Parts, metadata: Metadata) -> None:
    path.write_bytes(seal_pt2(parts[0], metadata))


def _open_pt2(path: Path, metadata: Metadata) -> Run:
    return _run_by_torch(torch.export.load(path).module(), metadata.outputs)


def _to_aoti(program: ExportedProgram, metadata: Metadata) -> Parts:
    require_compiler()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt2"
        torch._inductor.aoti_compile_and_package(program, package_path=path)
        return (path.read_bytes(),)


def _open_aoti(path: Path, metadata: Metadata) -> Run:
    return _run_by_torch(torch._inductor.aoti_load_package(path), metadata.outputs)


def _run_by_torch(model: Callable[[torch.Tensor], tuple[torch.Tensor, ...]], names: list[str]) -> Run:
    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            outputs = model(torch.from_numpy(images))
        return {name: output.numpy() for name, output in zip(names, outputs, strict=True)}

    return run


FORMATS = {
    "onnx": Format(".onnx", ("onnx", "onnxscript", "onnxruntime"), ("fp32",), _to_onnx, _save_onnx, _open_onnx),
    "openvino": Format(
        ".xml", ("onnx", "onnxscript", "openvino"), ("fp32",), _to_openvino, _save_openvino, _open_openvino
    ),
    "pt2": Format(".pt2", (), ("fp32",), _to_pt2, _save_pt2, _open_pt2),
    "aoti": Format(".pt2", (), ("fp32",), _to_aoti, _save_pt2, _open_aoti),
}
"""The first one of an ending is what the ending stands for."""
