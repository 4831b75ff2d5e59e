"""Opens an exported file in its runtime, and runs it on arrays that it can take."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpvit.errors import UserError
from gpvit.io import located
from gpvit.runtime.container import read_onnx, read_openvino
from gpvit.runtime.metadata import Metadata

INPUT = "images"
"""Name of the one input of every graph."""

_OPENVINO_PRECISIONS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "f32"}  # of what is not quantised

Arrays = Mapping[str, np.ndarray]
_Opened = tuple[Metadata, list[str], list[str], Callable[[np.ndarray], Iterable[np.ndarray]]]
"""What a file says, the names of its graph's inputs and outputs, and what computes these."""


@dataclass(frozen=True)
class Session:
    """An exported graph, ready to run.

    Args:
        metadata: What the file says of its model.
        source: What messages call the file.
        compute: Runs the graph itself.
    """

    metadata: Metadata
    source: str
    compute: Callable[[np.ndarray], Arrays]

    def run(self, images: np.ndarray) -> Arrays:
        """Run the graph on a batch of images.

        Args:
            images: Normalised float32 ``(B, C, H, W)``, or uint8 ``(B, H, W, C)``, as the metadata's ``input`` says.

        Returns:
            The outputs by name, as the metadata's ``outputs`` lists them.

        Raises:
            UserError: The images are not what the graph takes, or it does not compute what its metadata say.
            MemoryError: They do not fit into memory.
        """
        self._check(images)
        try:
            outputs = self.compute(images)
        except Exception as error:  # runtimes have their own classes, and messages of many lines
            kind = MemoryError if "allocate" in str(error) else UserError
            raise kind(
                f"{self.source} could not be computed for images of shape {images.shape}: {_first_line(error)}"
            ) from error
        _check_outputs(outputs, self.metadata, images, self.source)
        return outputs

    def _check(self, images: np.ndarray) -> None:
        facts = self.metadata
        is_float = facts.input == "float"
        dtype, layout = (np.float32, "channels, height, width") if is_float else (np.uint8, "height, width, channels")
        if images.ndim != 4 or images.dtype != dtype or 0 in images.shape:
            raise UserError(
                f"{self.source} takes {np.dtype(dtype)} of shape (batch, {layout}); got {images.dtype} {images.shape}"
            )
        size, channels = (images.shape[2:], images.shape[1]) if is_float else (images.shape[1:3], images.shape[3])
        if channels != facts.in_chans:
            raise UserError(f"{self.source} takes images of {facts.in_chans} channels; got {images.shape}")
        if facts.fixed_size is not None and size != tuple(facts.fixed_size):
            raise UserError(
                f"{self.source} takes images of {_by(facts.fixed_size)} alone; got {_by(size)}; resize them, or export "
                "the model without --fixed"
            )
        if min(size) < facts.min_side:
            raise UserError(
                f"{self.source} takes images of at least {facts.min_side} pixels a side; got {_by(size)}; enlarge them"
            )


def open_session(path: str | Path, threads: int | None = None) -> Session:
    """Open an `.onnx` or `.xml` that `gpvit export` wrote; the first needs onnxruntime, the other openvino.

    Args:
        path: The file.
        threads: Threads to compute with; by default the cores that this process may use.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: The file is no export of gpvit, is damaged, or asks for a newer version of gpvit or of its runtime.
    """
    path = located(path)
    opens = {".onnx": _open_onnx, ".xml": _open_openvino}
    if path.suffix not in opens:
        raise UserError(f"{path}: exported files that run without torch end in {' or '.join(opens)}")
    if threads is None:
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    metadata, inputs, outputs, compute = opens[path.suffix](path, threads)
    if inputs != [INPUT] or outputs != list(metadata.outputs):
        raise UserError(
            f"{path} has the inputs {inputs} and outputs {outputs}, and not [{INPUT!r}] and {metadata.outputs} as its "
            "metadata say; export the model again"
        )
    return Session(metadata, str(path), lambda images: dict(zip(outputs, compute(images), strict=True)))


def _open_onnx(path: Path, threads: int) -> _Opened:
    metadata, model = read_onnx(path)
    try:
        import onnxruntime
    except ImportError:
        raise UserError(f"{path} needs ONNX Runtime: pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors alone
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UserError(
            f"{path} is of opset {metadata.opset}, and onnxruntime {onnxruntime.__version__} cannot run it: "
            f"{_first_line(error)}; upgrade onnxruntime, or export the model with a lower --opset"
        ) from None
    inputs, outputs = ([each.name for each in ends] for ends in (session.get_inputs(), session.get_outputs()))
    return metadata, inputs, outputs, lambda images: session.run(None, {INPUT: images})


def _open_openvino(path: Path, threads: int) -> _Opened:
    metadata, xml, weights = read_openvino(path)
    try:
        import openvino
    except ImportError:
        raise UserError(f"{path} needs OpenVINO: pip install openvino") from None
    options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": _OPENVINO_PRECISIONS[metadata.precision]}
    options |= {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    try:
        core = openvino.Core()
        model = core.compile_model(core.read_model(model=xml, weights=weights), "CPU", options)
    except Exception as error:
        raise UserError(
            f"{path} cannot be run by openvino {openvino.__version__}: {_first_line(error)}; upgrade openvino, or "
            "export the model again"
        ) from None
    inputs, outputs = ([each.any_name for each in ends] for ends in (model.inputs, model.outputs))
    return metadata, inputs, outputs, lambda images: map(np.array, model(images).values())


def _check_outputs(outputs: Arrays, metadata: Metadata, images: np.ndarray, source: str) -> None:
    """Refuse outputs that the metadata do not describe, from which results would be made up."""
    count, classes = len(images), metadata.num_classes
    size = images.shape[2:] if metadata.input == "float" else images.shape[1:3]
    stride = metadata.stride or 1
    cells = tuple(-(-side // stride) for side in size)
    boxes = outputs["boxes"].shape[1:2] if "boxes" in outputs else ()
    shapes: dict[tuple[str, str], tuple[int, ...]] = {
        ("classification", "logits"): (count, classes),
        ("classification", "probabilities"): (count, classes),
        ("segmentation", "logits"): (count, classes, *cells),
        ("segmentation", "labels"): (count, *size),
        ("detection", "boxes"): (count, *boxes, 4),
        ("detection", "labels"): (count, *boxes),
        ("detection", "scores"): (count, *boxes),
    }
    for name, output in outputs.items():
        shape = shapes.get((metadata.task, name), output.shape)
        largest = classes - (metadata.task == "segmentation")
        is_label = name == "labels"
        if output.shape != shape or (is_label and output.size and not 0 <= output.min() <= output.max() <= largest):
            what = f"labels up to {output.max()}" if output.shape == shape else f"{name} of shape {output.shape}"
            raise UserError(
                f"{source} gives {what} for images of shape {images.shape}, which its metadata, for {classes} classes "
                f"and task {metadata.task}, do not allow; export the model again"
            )


def _by(size: Any) -> str:
    return "x".join(map(str, size))


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
