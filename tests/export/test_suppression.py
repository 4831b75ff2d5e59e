"""Suppression in ONNX Runtime and OpenVINO, against that of eager PyTorch, which is torchvision's."""

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
from ops.test_suppression import candidates

from gpvit.export.suppression import onnx_translations
from gpvit.ops.suppression import ABSENT, suppress

OVERLAPS = (0.5, 0.7)


class Suppress(torch.nn.Module):
    def forward(self, boxes, scores):
        return tuple(suppress(boxes, scores, overlap) for overlap in OVERLAPS)


@pytest.fixture(scope="module")
def runtimes(tmp_path_factory):
    path = tmp_path_factory.mktemp("suppression") / "model.onnx"
    dims = {0: torch.export.Dim.DYNAMIC}
    torch.onnx.export(
        Suppress().eval(),
        candidates(0),
        path,
        dynamic_shapes=({**dims, 1: torch.export.Dim.DYNAMIC}, {**dims, 2: torch.export.Dim.DYNAMIC}),
        input_names=["boxes", "scores"],
        custom_translation_table=onnx_translations(),
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    compiled = openvino.compile_model(openvino.convert_model(path), config={"INFERENCE_PRECISION_HINT": "f32"})
    return {
        "onnxruntime": lambda *given: session.run(None, dict(zip(("boxes", "scores"), given, strict=True))),
        "openvino": lambda *given: list(compiled(given).values()),
    }


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_keeps_the_same_boxes(runtimes, runtime):
    for seed in range(30):
        boxes, scores = candidates(seed, images=1 + seed % 3, count=20 + seed)
        if seed == 7:
            scores = torch.full_like(scores, ABSENT)
        for kept, overlap in zip(runtimes[runtime](boxes.numpy(), scores.numpy()), OVERLAPS, strict=True):
            assert np.array_equal(kept, suppress(boxes, scores, overlap)), (seed, overlap)
