"""A graph of ONNX with the products of its Linear layers in 8 bits, by the ranges of values that images show."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn

from gpvit.data.files import list_images
from gpvit.export.onnx import quietly
from gpvit.inference.metadata import preprocessing_of, segmentation_preprocessing_of, task_of
from gpvit.runtime.images import read_image
from gpvit.runtime.sessions import INPUT

_PRODUCTS = ("MatMul", "Gemm")
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


def linear_layers(graph: nn.Module, model: Any) -> set[str]:
    """Name the Linear layers of a graph, but for the last ones of its model, which depend on the classes."""
    heads = getattr(model, "head_names", None) or model.pretrained_cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    names = {name for name, module in graph.named_modules() if isinstance(module, nn.Linear)}
    return {name for name in names if not f"{name}.".partition("model.")[2].startswith(heads)}


def to_int8(model: onnx.ModelProto, images: Iterator[np.ndarray], layers: set[str]) -> onnx.ModelProto:
    """Quantise the products of Linear layers, statically, by the ranges that they have on images.

    Products of two things computed, such as attention's, and convolutions stay in float32: they cost accuracy out of
    proportion.

    Args:
        model: A graph whose nodes have the names of their modules.
        images: What the graph takes, batch by batch.
        layers: Names of the Linear layers.
    """
    products = [node.name for node in model.graph.node if node.op_type in _PRODUCTS and _module(node) in layers]
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
                nodes_to_quantize=products,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"OpTypesToExcludeOutputQuantization": list(_PRODUCTS)},
            )
        return onnx.load(written)


def _module(node: onnx.NodeProto) -> str:
    return node.name.rpartition("/")[0]


class _Reader(CalibrationDataReader):
    """Hands out images one by one."""

    def __init__(self, images: Iterator[np.ndarray]):
        self.images = images

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next image, None after the last."""
        image = next(self.images, None)
        return None if image is None else {INPUT: image}
