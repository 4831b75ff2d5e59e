"""Tiny networks, each also as a graph of ONNX that computes the same, sealed as exports are: made in no time."""

import io
from pathlib import Path

import numpy as np
import openvino
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from runtime.metadata import CLASSIFIER, SEGMENTER, metadata
from torch import nn

from gpvit.runtime.container import seal_onnx, seal_openvino, seal_pt2

STRIDE = 8
GENERATOR = np.random.default_rng(0)
WEIGHTS = GENERATOR.standard_normal((2, 3)).astype(np.float32)
BOXES = np.array([[[2, 3, 40, 30], [10.5, 5.25, 60, 50], [0, 0, 0, 0]]], np.float32)
LABELS = np.array([[2, 1, 0]])
MASKS = GENERATOR.random((1, 3, 28, 28), np.float32)


class Classifier(nn.Module):
    """A linear map of the mean colour."""

    num_classes, in_chans = 2, 3
    pretrained_cfg = {**CLASSIFIER["preprocessing"], "label_names": ["cat", "dog"]}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.from_numpy(WEIGHTS))

    def forward(self, images):
        return images.mean((2, 3)) @ self.weights.T


class Segmenter(Classifier):
    """The same of each cell of 8 pixels."""

    task, stride = "segmentation", STRIDE
    pretrained_cfg = {**SEGMENTER["preprocessing"], "label_names": ["cat", "dog"]}  # noqa: RUF012

    def forward_low(self, images):
        return F.conv2d(F.avg_pool2d(images, STRIDE), self.weights[:, :, None, None])

    forward = forward_low


def constant(name, array):
    return numpy_helper.from_array(array, name)


def expanded(name):
    """Nodes that repeat a constant for each image."""
    return [
        helper.make_node("Gather", ["shape", "first"], [f"{name}_count"]),
        helper.make_node("Concat", [f"{name}_count", f"{name}_ones"], [f"{name}_shape"], axis=0),
        helper.make_node("Expand", [f"{name}_one", f"{name}_shape"], [name]),
    ]


def model(kind) -> bytes:
    """The graph of a task as bytes of ONNX."""
    task, (first, *_) = kind["task"], kind["outputs"]
    if task == "classification":
        nodes = [
            helper.make_node("ReduceMean", ["images", "sides"], ["colour"], keepdims=0),
            helper.make_node("MatMul", ["colour", "weights"], [first]),
        ]
        constants = [constant("sides", np.array([2, 3])), constant("weights", WEIGHTS.T.copy())]
    elif task == "segmentation":
        sides = {"kernel_shape": [STRIDE, STRIDE], "strides": [STRIDE, STRIDE]}
        nodes = [
            helper.make_node("AveragePool", ["images"], ["cells"], **sides),
            helper.make_node("Conv", ["cells", "weights"], [first]),
        ]
        constants = [constant("weights", WEIGHTS[:, :, None, None].copy())]
    else:
        scores = [
            helper.make_node("Shape", ["images"], ["shape"]),
            helper.make_node("ReduceMean", ["images", "sides"], ["mean"], keepdims=0),
            helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
            helper.make_node("Mul", ["column", "steps"], ["raw"]),
            helper.make_node("Sigmoid", ["raw"], ["scores"]),
        ]
        nodes = [*scores, *expanded("boxes"), *expanded("labels"), *expanded("masks")]
        constants = [constant("sides", np.array([1, 2, 3])), constant("last", np.array([1]))]
        constants += [constant("first", np.array([0])), constant("steps", np.array([[0.3, 0.2, 0]], np.float32))]
        for name, array in (("boxes", BOXES), ("labels", LABELS), ("masks", MASKS)):
            constants += [constant(f"{name}_one", array), constant(f"{name}_ones", np.array(array.shape[1:]))]
    batch = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    types = {"labels": TensorProto.INT64}
    outputs = [
        helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), None) for name in kind["outputs"]
    ]
    graph = helper.make_graph(nodes, "tiny", [batch], outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return made.SerializeToString()


def write(kind, path: Path, **changed) -> Path:
    """Write the export of a task in the format of the path's ending; what is changed goes into its metadata."""
    facts = metadata(kind, **changed)
    if path.suffix == ".onnx":
        path.write_bytes(seal_onnx(model(kind), facts))
    elif path.suffix == ".xml":
        raw = path.with_name("raw.xml")
        openvino.save_model(openvino.convert_model(io.BytesIO(model(kind))), raw, compress_to_fp16=False)
        path.write_bytes(seal_openvino(raw.read_bytes(), raw.with_suffix(".bin").read_bytes(), facts))
        raw.with_suffix(".bin").replace(path.with_suffix(".bin"))
    else:
        free = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
        network = {"classification": Classifier, "segmentation": Segmenter}[kind["task"]]().eval()
        program = torch.export.export(network, (torch.rand(2, 3, 64, 96),), dynamic_shapes=(free,))
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
        path.write_bytes(seal_pt2(buffer.getvalue(), facts))
    return path
