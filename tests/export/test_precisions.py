"""float16 and 8 bits in ONNX, made of one exported file, and what they leave in float32."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from gpvit.data.synthetic.photographs import load_photograph, photograph_names
from gpvit.errors import UserError
from gpvit.export import export
from gpvit.export.graphs import build_graph
from gpvit.export.precisions import calibration_images, linear_layers, to_float16, to_int8
from gpvit.models.folding import fold
from gpvit.runtime.container import read_onnx


@pytest.fixture
def model(exported) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(read_onnx(exported[0])[1])


@pytest.fixture
def photographs(tmp_path):
    for name in photograph_names()[:3]:
        load_photograph(name).resize((80, 64)).save(tmp_path / f"{name}.png")
    return tmp_path


def difference(model: onnx.ModelProto, classifier, images: torch.Tensor) -> float:
    (logits,) = onnxruntime.InferenceSession(model.SerializeToString()).run(["logits"], {"images": images.numpy()})
    with torch.inference_mode():
        expected = classifier(images).numpy()
    assert logits.dtype == np.float32
    return np.abs(logits - expected).max() / np.abs(expected).max()


def types_of_inputs(model: onnx.ModelProto, wanted) -> set[int]:
    """Element types of what nodes take, as far as ONNX infers them."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.input)}
    types |= {tensor.name: tensor.data_type for tensor in inferred.initializer}
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    return {types[name] for node in inferred.node if wanted(node) for name in node.input if types.get(name) in floats}


def test_float16_leaves_norms_softmax_and_the_attention_of_groups_in_float32(model, classifier):
    half = to_float16(model)
    assert difference(half, classifier, torch.rand(2, 3, 97, 131)) < 5e-3
    sensitive = ("Softmax", "LayerNormalization")
    assert types_of_inputs(half, lambda node: node.op_type in sensitive) == {onnx.TensorProto.FLOAT}
    of_groups = lambda node: node.op_type == "MatMul" and node.name.rpartition("/")[0].endswith("grouping")  # noqa: E731
    assert types_of_inputs(half, of_groups) == {onnx.TensorProto.FLOAT}
    assert types_of_inputs(half, lambda node: node.name == "network.model.blocks.0.mlp.fc1/MatMul") == {
        onnx.TensorProto.FLOAT16
    }


def test_int8_is_for_linear_layers_but_the_last(model, exported, classifier, photographs):
    layers = linear_layers(build_graph(fold(classifier), groups=True), classifier)
    small = to_int8(model, calibration_images(exported[1], photographs), layers)
    image = next(calibration_images(exported[1], photographs))
    assert difference(small, classifier, torch.from_numpy(image)) < 0.2
    made = {node.output[0]: node.op_type for node in small.graph.node}
    in_int8 = {
        node.name.partition("model.")[2].rpartition("/")[0]
        for node in small.graph.node
        if node.op_type in ("MatMul", "Gemm") and made.get(node.input[1]) == "DequantizeLinear"
    }
    assert {"blocks.0.mlp.fc1", "blocks.0.attn.vertical.qkv", "blocks.1.mlp.fc2"} <= in_int8
    assert "head" not in in_int8
    assert in_int8 == {name.partition("model.")[2] for name in layers} - {"blocks.1.grouping.key"}  # which folding left


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "int8 needs a folder of images"),
        ({"calibration": "absent"}, "absent"),
        ({"calibration": ".", "data": "digits", "uint8": True}, "leave out data"),
    ],
)
def test_what_int8_lacks_is_told_and_nothing_written(classifier, tmp_path, settings, message):
    with pytest.raises((UserError, FileNotFoundError), match=message):
        export(classifier, tmp_path / "model.onnx", precision="int8", **settings)
    assert list(tmp_path.iterdir()) == []


def test_calibration_and_data_are_for_int8_alone(classifier, tmp_path):
    with pytest.raises(UserError, match="are for int8; the precision is fp16"):
        export(classifier, tmp_path / "model.onnx", precision="fp16", calibration=tmp_path)


def test_images_of_another_size_than_the_graphs_own_are_refused(exported, photographs):
    metadata = replace(exported[1], fixed_size=[64, 96])
    with pytest.raises(UserError, match=r"\.png becomes \d+x\d+ pixels, and the graph takes \[64, 96\] alone"):
        list(calibration_images(metadata, photographs))
