"""Our operators in ONNX Runtime and OpenVINO, against themselves in eager PyTorch."""

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
from ops.test_suppression import candidates

from gpvit.export.translations import onnx_translations
from gpvit.models.detection.fitting import fit_and_pad
from gpvit.ops.suppression import ABSENT, suppress

OVERLAPS = (0.5, 0.7)
ANY = torch.export.Dim.DYNAMIC


class Suppress(torch.nn.Module):
    def forward(self, boxes, scores):
        return tuple(suppress(boxes, scores, overlap) for overlap in OVERLAPS)


class FitAndPad(torch.nn.Module):
    def forward(self, images):
        return *fit_and_pad(images, [64, 128]), *fit_and_pad(images, [])


@pytest.fixture(params=["onnxruntime", pytest.param("openvino", marks=pytest.mark.slow)])
def export(request, tmp_path):
    """Return what exports a module and returns a function that runs it."""

    def run(module, example, dynamic_shapes):
        path = tmp_path / "model.onnx"
        table = onnx_translations()
        torch.onnx.export(
            module.eval(), example, path, dynamic_shapes=dynamic_shapes, custom_translation_table=table, verbose=False
        )
        if request.param == "openvino":
            compiled = openvino.compile_model(openvino.convert_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            return lambda *given: list(compiled([x.numpy() for x in given]).values())
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [entry.name for entry in session.get_inputs()]
        return lambda *given: session.run(None, dict(zip(names, [x.numpy() for x in given], strict=True)))

    return run


def test_the_same_boxes_are_kept(export):
    run = export(Suppress(), candidates(0), ({0: ANY, 1: ANY}, {0: ANY, 2: ANY}))
    for seed in range(30):
        boxes, scores = candidates(seed, images=1 + seed % 3, count=20 + seed)
        if seed == 7:
            scores = torch.full_like(scores, ABSENT)
        for kept, overlap in zip(run(boxes, scores), OVERLAPS, strict=True):
            assert np.array_equal(kept, suppress(boxes, scores, overlap)), (seed, overlap)


def test_images_are_resized_and_padded_alike(export):
    run = export(FitAndPad(), (torch.rand(2, 3, 50, 70),), ({0: ANY, 2: ANY, 3: ANY},))
    generator = torch.Generator().manual_seed(0)
    for height, width in torch.randint(1, 300, (40, 2), generator=generator).tolist():
        images = torch.rand(1 + height % 2, 3, height, width, generator=generator)
        for ours, theirs in zip(FitAndPad()(images), run(images), strict=True):
            torch.testing.assert_close(torch.from_numpy(theirs), ours, atol=1e-4, rtol=0)
