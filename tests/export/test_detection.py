"""Detectors as graphs: in eager PyTorch, ONNX Runtime, OpenVINO and as exported programs, against the detectors."""

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
import torch.nn.functional as F

import gpvit  # noqa: F401  timm learns the models
from gpvit.export.detection import DetectionGraph
from gpvit.export.translations import onnx_translations
from gpvit.models.detection.detector import Detector
from gpvit.models.detection.mask_rcnn import MaskRCNN
from gpvit.models.detection.retinanet import RetinaNet

SMALL = {"num_classes": 3, "channels": 32, "min_size": 64, "max_size": 128}
UNSEEN = ((1, 60, 80), (3, 64, 96), (2, 131, 200), (2, 37, 300), (1, 300, 41))
ANY = torch.export.Dim.DYNAMIC
FREE = {True: {0: ANY, 1: ANY, 2: ANY}, False: {0: ANY, 2: ANY, 3: ANY}}
EXAMPLE = (2, 75, 101)
TOLERANCES = {"boxes": 1e-3, "labels": 0, "scores": 1e-5, "masks": 1e-4}


def build(kind: type[Detector], **kwargs) -> Detector:
    """A small detector that finds much, with scores that differ."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    heads = {"head_kwargs": {"proposals_per_image": 300}} if kind is MaskRCNN else {}
    model = kind("gpvit_nano", **{**SMALL, **heads, **kwargs}).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if isinstance(model, RetinaNet) and name.startswith("head.") and parameter.ndim == 4:
                parameter.normal_(std=(1.2 / parameter[0].numel()) ** 0.5, generator=generator)
            elif any(part in name for part in ("cls_logits", "cls_score", "bbox_pred")):
                parameter.normal_(std=0.02 if parameter.ndim > 1 else 0.1, generator=generator)
    model.mask_format = "box"
    return model


@pytest.fixture(scope="module", params=[MaskRCNN, RetinaNet])
def model(request) -> Detector:
    return build(request.param)


def given(batch: int, height: int, width: int, uint8: bool) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * width)
    if uint8:
        return torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=generator)
    return torch.randn(batch, 3, height, width, generator=generator)


@torch.no_grad()
def detected(model: Detector, images: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    """What the detector itself says of images, given as bytes or normalised."""
    if images.dtype == torch.uint8:
        return model([image.permute(2, 0, 1).float() / 255 for image in images])
    height, width = images.shape[2:]
    features = model.backbone(F.pad(images, (0, -width % 32, 0, -height % 32)))
    return model.detect(list(features.values()), *[[(height, width)] * len(images)] * 2)


def assert_agree(outputs, expected: list[dict[str, torch.Tensor]], least: int) -> None:
    """Hold the outputs of a graph against an image's detections each, of which there must be so many."""
    for i, found in enumerate(expected):
        count = len(found["boxes"])
        assert count >= least
        for output, (name, tolerance) in zip(outputs, TOLERANCES.items(), strict=False):
            own, values = (
                torch.as_tensor(np.asarray(output[i])),
                found[name].squeeze(1) if name == "masks" else found[name],
            )
            assert own.dtype == values.dtype
            torch.testing.assert_close(own[:count], values, atol=tolerance, rtol=0, msg=f"{name} of image {i}")
            assert not own[count:].any()


@pytest.mark.parametrize("uint8", [True, False], ids=["bytes", "floats"])
@torch.no_grad()
def test_finds_what_the_detector_finds(model, uint8):
    graph = DetectionGraph(model, uint8)
    assert graph.output_names == ["boxes", "labels", "scores", *["masks"] * model.has_masks]
    for batch, height, width in UNSEEN[1:3]:
        images = given(batch, height, width, uint8)
        assert_agree(graph(images), detected(model, images), least=90)


@torch.no_grad()
def test_few_or_no_objects(model):
    holder = model.roi_heads if model.has_masks else model
    images, threshold = given(2, 64, 80, True), holder.score_thresh
    scores = detected(model, images)[0]["scores"]
    counts = []
    for holder.score_thresh in (float(scores[3]), 1.0):
        expected = detected(model, images)
        counts.append(len(expected[0]["boxes"]))
        assert_agree(DetectionGraph(model, uint8=True)(images), expected, least=0)
    holder.score_thresh = threshold
    assert counts == [3, 0]


@torch.no_grad()
def test_fewer_proposals_than_detections():
    model = build(MaskRCNN, num_classes=1, head_kwargs={"proposals_per_image": 10})
    images = given(1, 64, 96, True)
    assert_agree(DetectionGraph(model, uint8=True)(images), detected(model, images), least=1)


def test_other_models_are_refused():
    with pytest.raises(ValueError, match="expected a MaskRCNN or a RetinaNet, got Linear"):
        DetectionGraph(torch.nn.Linear(1, 1))


def onnx_file(model: Detector, uint8: bool, path):
    graph = DetectionGraph(model, uint8).eval()
    torch.onnx.export(
        graph,
        (given(*EXAMPLE, uint8),),
        path,
        dynamic_shapes=(FREE[uint8],),
        input_names=["images"],
        output_names=graph.output_names,
        custom_translation_table=onnx_translations(),
        opset_version=20,
        external_data=False,
        optimize=False,  # which takes twice as long as the rest
        verbose=False,
    )
    return path


def runners(path) -> dict:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    compiled = openvino.compile_model(openvino.convert_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {
        "onnxruntime": lambda x: session.run(None, {"images": x.numpy()}),
        "openvino": lambda x: list(compiled(x.numpy()).values()),
    }


@pytest.fixture(
    scope="module", params=[(MaskRCNN, True), (RetinaNet, False)], ids=["mask_rcnn-bytes", "retinanet-floats"]
)
def exported(request, tmp_path_factory):
    kind, uint8 = request.param
    model = build(kind)
    return model, uint8, runners(onnx_file(model, uint8, tmp_path_factory.mktemp("onnx") / "model.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("size", UNSEEN)
def test_one_onnx_file_serves_every_batch_and_size(exported, runtime, size):
    model, uint8, run = exported
    images = given(*size, uint8)
    assert_agree(run[runtime](images), detected(model, images), least=50)


@pytest.mark.slow
@torch.no_grad()
def test_a_program_serves_every_batch_and_size(tmp_path):
    model = build(RetinaNet)
    graph = DetectionGraph(model, uint8=True).eval()
    program = torch.export.export(graph, (given(*EXAMPLE, True),), dynamic_shapes=(FREE[True],), strict=False)
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    for size in UNSEEN:
        images = given(*size, True)
        assert_agree(loaded(images), detected(model, images), least=50)
