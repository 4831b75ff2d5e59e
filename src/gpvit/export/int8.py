"""A graph of ONNX with the products of its Linear layers in 8 bits, by the ranges of values that images show."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from gpvit.data.files import list_images
from gpvit.export.onnx import quietly
from gpvit.inference.metadata import preprocessing_of, segmentation_preprocessing_of, task_of
from gpvit.runtime.images import read_image
from gpvit.runtime.sessions import INPUT

_PRODUCTS = ("MatMul", "Gemm")
_IN_MODEL = re.compile(r"(network\.)?model\.")  # before a module's name, as a graph holds the model
_MOST_IMAGES = 256  # whose ranges are taken; more change them hardly


def calibration_images(model: Any, folder: str | Path, uint8: bool) -> Iterator[np.ndarray]:
    """Prepare the images of a folder, at any depth, as a graph takes them: batches of one.

    Raises:
        FileNotFoundError: There is no such folder, or no image in it.
    """
    for path in list_images(folder)[:_MOST_IMAGES]:
        image = read_image(path).convert("L" if model.in_chans == 1 else "RGB")
        if uint8:
            pixels = np.asarray(image)
            yield pixels[None] if pixels.ndim == 3 else pixels[None, ..., None]
        elif task_of(model) == "detection":
            pixels = torch.from_numpy(np.array(image)).view(image.height, image.width, -1).permute(2, 0, 1)
            batch, _ = model.transform([pixels / 255])
            yield batch.tensors.numpy()
        else:
            read = preprocessing_of if task_of(model) == "classification" else segmentation_preprocessing_of
            yield read(model).transform()(image)[None].numpy()


def to_int8(model: onnx.ModelProto, images: Iterator[np.ndarray], heads: tuple[str, ...]) -> onnx.ModelProto:
    """Quantise the products of Linear layers, statically, by the ranges that they have on images.

    Left in float32 are products of two things computed, such as attention's, convolutions, and the last layers, whose
    names in the model begin with one of `heads`: all of them cost accuracy out of proportion.
    """
    weights = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2}
    linear = [
        node.name
        for node in model.graph.node
        if node.op_type in _PRODUCTS and node.input[1] in weights and not _IN_MODEL.sub("", node.name).startswith(heads)
    ]
    with tempfile.TemporaryDirectory() as folder:
        given, written = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, given)
        with quietly():
            quantize_static(
                given,
                written,
                _Reader(images),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_PRODUCTS),
                nodes_to_quantize=linear,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"OpTypesToExcludeOutputQuantization": list(_PRODUCTS)},
            )
        return onnx.load(written)


def head_names(model: Any) -> tuple[str, ...]:
    """Name the last layers, which depend on the classes, in the model."""
    names = getattr(model, "head_names", None) or model.pretrained_cfg.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


class _Reader(CalibrationDataReader):
    """Hands out images one by one."""

    def __init__(self, images: Iterator[np.ndarray]):
        self.images = images

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next image, None after the last."""
        image = next(self.images, None)
        return None if image is None else {INPUT: image}
