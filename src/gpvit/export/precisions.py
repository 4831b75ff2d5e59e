"""Graphs of ONNX in other precisions: in float16, or with the products of their Linear layers in 8 bits."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from torch import nn

from gpvit.data.files import list_images
from gpvit.errors import UserError
from gpvit.export.onnx import quietly
from gpvit.runtime.images import read_image
from gpvit.runtime.metadata import Metadata
from gpvit.runtime.prepare import prepare, require_pictures
from gpvit.runtime.sessions import INPUT

_PRODUCTS = ("MatMul", "Gemm")
_MOST_IMAGES = 256  # whose ranges are taken; more change them hardly
_IN_FLOAT32 = ("Softmax", "LayerNormalization", "ReduceMean", "ReduceMax", "Pow", "Sqrt", "Exp")
"""What overflows or loses too much in float16."""


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert weights and products; inputs, outputs, norms, softmax and the attention of groups stay in float32."""
    attention_of_groups = [node.name for node in model.graph.node if _module(node).endswith("grouping")]
    half: onnx.ModelProto = convert_float_to_float16(
        model,
        keep_io_types=True,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_IN_FLOAT32],
        node_block_list=attention_of_groups,
    )
    del half.graph.value_info[:]  # types of before
    return half


def calibration_images(metadata: Metadata, folder: str | Path) -> Iterator[np.ndarray]:
    """Prepare the images of a folder, at any depth, as a graph that metadata describe takes them: batches of one.

    Raises:
        FileNotFoundError: There is no such folder, or no image in it.
        UserError: An image has another size than the one that the graph takes.
    """
    require_pictures(metadata, metadata.name)
    for path in list_images(folder)[:_MOST_IMAGES]:
        images = prepare(read_image(path), metadata)
        size = list(images.shape[2:] if metadata.input == "float" else images.shape[1:3])
        if metadata.fixed_size not in (None, size):
            raise UserError(
                f"{path} becomes {size[0]}x{size[1]} pixels, and the graph takes {metadata.fixed_size} alone: "
                "calibrate on images that become so large, or leave out the fixed size"
            )
        yield images


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
