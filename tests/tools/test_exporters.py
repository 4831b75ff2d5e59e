"""ONNX, OpenVINO, AOTInductor and ExecuTorch: what is exported once computes the same at other batches and sizes."""

import logging
import warnings

import numpy as np
import onnxruntime
import openvino
import pytest
import timm
import torch
from contract.subjects import difference, images

import gpvit

ANY = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
SIZES = ((64, 96), (75, 130), (160, 128))
logging.getLogger("torch.onnx").setLevel(logging.ERROR)


def onnx_session(model, example, dynamic, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (example,), path, dynamo=True, dynamic_shapes=(dynamic,), verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: [torch.from_numpy(np.array(out)) for out in session.run(None, {name: x.numpy()})]


def check(run, model, batches=(1,), sizes=SIZES, tolerance=1e-5):
    with torch.no_grad():
        for batch, (height, width) in zip((*batches, *batches, *batches), sizes, strict=False):
            x = images(batch, height, width)
            expected = model(x)
            expected = expected if isinstance(expected, list | tuple) else [expected]
            for ours, theirs in zip(expected, run(x), strict=True):
                assert difference(theirs, ours) < tolerance


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpvit_nano", "segformer_gpvit_nano"])
def test_a_graph_from_one_image_serves_any_batch(name, tmp_path):
    model = gpvit.create_model(name, num_classes=3).eval()
    run = onnx_session(model, images(1, 64, 64), {0: "batch"}, tmp_path / "model.onnx")
    check(run, model, batches=(1, 2, 5), sizes=((64, 64),) * 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpvit_nano", "upernet_gpvit_nano"])
def test_a_graph_serves_any_size(name, tmp_path):
    model = gpvit.create_model(name, num_classes=3).eval()
    check(onnx_session(model, images(2, 128, 96), {0: "batch", **ANY}, tmp_path / "model.onnx"), model, (2, 1, 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpvit_nano", "vit_tiny_patch16_224"])
def test_an_adapters_maps_keep_their_size(name, tmp_path):
    model = gpvit.ViTAdapter(timm.create_model(name)).eval()
    check(onnx_session(model, images(2, 128, 96), {0: "batch", **ANY}, tmp_path / "model.onnx"), model, (1, 2, 1))


@pytest.mark.slow
def test_openvino_converts_an_exported_adapter():
    model = gpvit.ViTAdapter(timm.create_model("gpvit_nano")).eval()
    program = torch.export.export(model, (images(2, 128, 96),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC, **ANY},))
    compiled = openvino.compile_model(openvino.convert_model(program))
    check(lambda x: [torch.from_numpy(out) for out in compiled(x.numpy()).values()], model, (1, 2))


def test_executorch_lowers_a_classifier():
    backend = pytest.importorskip(
        "executorch.backends.xnnpack.partition.xnnpack_partitioner", reason="make test-tools installs executorch"
    )
    from executorch.exir import to_edge_transform_and_lower

    model = timm.create_model("gpvit_nano", num_classes=3).eval()
    program = torch.export.export(model, (images(1, 64, 64),))
    lowered = to_edge_transform_and_lower(program, partitioner=[backend.XnnpackPartitioner()])
    assert lowered.to_executorch().buffer
