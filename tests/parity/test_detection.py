"""Mask R-CNN and RetinaNet against outputs, names and counts of the authors' code, recorded in tests/golden."""

import re

import numpy as np
import pytest
import torch
from golden import fill, official
from scipy.optimize import linear_sum_assignment
from torchvision.ops import box_iou

import gpvit  # noqa: F401  timm learns the models
from gpvit.models.detection.detector import Detector
from gpvit.models.detection.mask_rcnn import MaskRCNN
from gpvit.models.detection.retinanet import RetinaNet
from gpvit.zoo.official import convert_official

MODELS = {"maskrcnn": MaskRCNN, "retinanet": RetinaNet}
SIZES = [(system, level) for system in MODELS for level in (1, 2, 3, 4)]
TOLERANCE = 1e-4  # of the largest absolute value
CASES = {"A": ((256, 320), (256, 320)), "B": ((250, 312), (200, 250))}  # size of the valid image, and of the original
CORNER = 0.01  # pixels; the recorded boxes are 0.002 off those of our model in float64
THIN = 2.0  # pixels; of thinner boxes an intersection over union is no measure at that precision


@pytest.fixture(scope="module", params=MODELS)
def system(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def recorded(system) -> dict[str, np.ndarray]:
    return official.outputs(f"{system}_L1_heads")


@pytest.fixture(scope="module")
def model(system) -> Detector:
    with torch.device("meta"):
        model = MODELS[system]("gpvit_l1")
    model.load_state_dict(convert_official(official.state_dict(f"{system}_L1")), assign=True)
    return model.eval()


@pytest.fixture(scope="module")
@torch.no_grad()
def maps(model) -> list[torch.Tensor]:
    return list(model.backbone(torch.from_numpy(fill.image("det", (1, 3, 256, 320)))).values())


def assert_met(computed: dict[str, torch.Tensor], recorded: dict[str, np.ndarray]) -> None:
    """Hold outputs against what is recorded under their names; the marks that follow tell how it was thinned out."""
    for what, name in ((what, name) for what in computed for name in recorded if belongs(name, what)):
        marks, expected = name.removeprefix(what), recorded[name]
        output = computed[what].numpy()
        steps = {mark: int(step) for mark, step in re.findall(r"_(first|hw|c)(\d+)", marks)}
        if marks == "_shape":
            assert output.shape == tuple(expected)
            continue
        if marks == "_summary":
            output = fill.summary(output)
        else:
            output = output[: steps.get("first"), :: steps.get("c", 1)]
            output = output[..., :: steps["hw"], :: steps["hw"]] if "hw" in steps else output
        assert output.shape == expected.shape, name
        error = np.abs(output - expected).max() / np.abs(expected).max()
        assert error < TOLERANCE, f"{name}: off by {error:.1e} of the largest value"
    assert all(any(belongs(name, what) for name in recorded) for what in computed)


def belongs(name: str, what: str) -> bool:
    """Tell whether an array is recorded of an output, thinned out or not."""
    return re.fullmatch(what + r"(_(first|hw|c)\d+)*(_summary|_shape)?", name) is not None


def test_maps_of_the_pyramid(maps, recorded):
    assert_met({f"fpn{i}": feature for i, feature in enumerate(maps)}, recorded)


@torch.no_grad()
def test_raw_outputs_of_the_heads(model, system, maps, recorded):
    if system == "maskrcnn":
        logits, deltas = model.rpn.head(maps)
        names = ("rpn_cls", "rpn_reg")
    else:
        heads = (model.head.classification_head, model.head.regression_head)
        logits, deltas = ([as_map(head([feature]), feature) for feature in maps] for head in heads)
        names = ("cls", "reg")
    for name, outputs in zip(names, (logits, deltas), strict=True):
        assert_met({f"{name}{i}": output for i, output in enumerate(outputs)}, recorded)


def as_map(rows: torch.Tensor, feature: torch.Tensor) -> torch.Tensor:
    """Undo torchvision's flattening: ``(B, h * w * anchors, channels)`` to ``(B, anchors * channels, h, w)``."""
    return rows.view(len(rows), *feature.shape[2:], -1).permute(0, 3, 1, 2)


def test_anchors_are_equal_to_the_last_bit(model, system, maps, recorded):
    generator = model.rpn.anchor_generator if system == "maskrcnn" else model.anchor_generator
    for i, anchors in enumerate(generator(maps)):
        assert len(anchors) == recorded[f"anchors{i}_n"]
        assert np.array_equal(anchors[:50], recorded[f"anchors{i}_first50"])
        assert np.array_equal(anchors[-3:], recorded[f"anchors{i}_last3"])


def one_to_one(expected: torch.Tensor, boxes: torch.Tensor, penalty: torch.Tensor | float = 0.0) -> torch.Tensor:
    """Match boxes so that the sum of distances is least, and return the index of each expected one's."""
    distance = (expected[:, None] - boxes).abs().amax(dim=2) + penalty
    rows, columns = linear_sum_assignment(distance)
    assert distance[rows, columns].max() < CORNER
    return torch.from_numpy(columns)


def pairs(detections: dict[str, torch.Tensor], expected: np.ndarray, labels: np.ndarray) -> torch.Tensor:
    """Match detections with recorded ones, one to one, and return the detection of each."""
    boxes, scores = torch.from_numpy(expected[:, :4]), torch.from_numpy(expected[:, 4])
    assert len(detections["boxes"]) == len(boxes)
    another_class = torch.from_numpy(labels)[:, None] + 1 != detections["labels"]  # theirs start from 0
    index = one_to_one(boxes, detections["boxes"], 1e3 * another_class)
    assert (scores - detections["scores"][index]).abs().max() < 1e-4
    overlap = box_iou(boxes, detections["boxes"][index]).diagonal()
    assert overlap[((boxes[:, 2:] - boxes[:, :2]) > THIN).all(dim=1)].min() > 0.999
    return index


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_detections(model, system, maps, recorded, case):
    size, original = CASES[case]
    detections = model.detect(maps, [size], [original])[0]
    index = pairs(detections, recorded[f"{case}_det"], recorded[f"{case}_label"])
    if system == "maskrcnn":
        masks = detections["masks"][index, 0].numpy() >= 0.5
        assert masks.shape[1:] == tuple(recorded[f"{case}_mask_shape"]) == original
        assert (
            np.abs(masks.sum(axis=(1, 2)) - recorded[f"{case}_mask_area"]).max() <= 0.005 * masks.sum(axis=(1, 2)).max()
        )
        packed = np.unpackbits(recorded[f"{case}_masks_first6_packed"], count=6 * masks[0].size)
        for mask, expected in zip(masks[:6], packed.reshape(6, *original).astype(bool), strict=True):
            union = (mask | expected).sum()
            assert not union or (mask & expected).sum() / union > 0.99


@pytest.mark.parametrize("system", ["maskrcnn"], indirect=True, scope="module")
class TestSecondStage:
    """Mask R-CNN between its two stages, and from the recorded proposals on, whose order then is the recorded one."""

    @pytest.mark.parametrize("case", CASES)
    @torch.no_grad()
    def test_proposals(self, model, maps, recorded, case):
        expected = torch.from_numpy(recorded[f"{case}_proposals"][:, :4])
        (proposals,), _ = model.rpn(maps, [CASES[case][0]])
        assert len(proposals) == len(expected)
        one_to_one(expected, proposals)

    @torch.no_grad()
    def test_pooled_features_logits_and_deltas(self, model, maps, recorded):
        heads = model.roi_heads
        proposals = torch.from_numpy(recorded["A_proposals"][:, :4])
        assert np.array_equal(heads.box_roi_pool.levels(proposals), recorded["A_roilevels"])
        pooled = heads.box_roi_pool(maps, [proposals[:40]])
        logits, deltas = heads.box_predictor(heads.box_head(pooled))
        background_last = logits.roll(-1, dims=1)
        assert_met({"A_roifeat": pooled, "A_cls_score": background_last, "A_bbox_pred": deltas}, recorded)

    @torch.no_grad()
    def test_mask_logits(self, model, maps, recorded):
        heads = model.roi_heads
        boxes = torch.from_numpy(recorded["A_det"][:6, :4])
        logits = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(maps, [boxes])))
        own = logits[torch.arange(6), torch.from_numpy(recorded["A_label"][:6])].numpy()
        expected = recorded["A_masklogits_first6_atlabel"]
        assert np.abs(own - expected).max() < TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize(("system", "level"), SIZES)
def test_names_shapes_and_parameter_counts(system, level):
    converted = convert_official(official.meta_state_dict(f"{system}_L{level}"))
    with torch.device("meta"):
        model = MODELS[system](f"gpvit_l{level}")
    own = model.state_dict()
    assert {n: (t.shape, t.dtype) for n, t in converted.items()} == {n: (t.shape, t.dtype) for n, t in own.items()}
    model.load_state_dict(converted, strict=True, assign=True)
    recorded = official.parameter_counts()[system][f"L{level}"]
    assert sum(p.numel() for p in model.parameters()) == recorded["parameters"]
    parts = {"backbone": model.backbone.body, "neck": model.backbone.fpn}
    parts |= {"rpn_head": model.rpn, "roi_head": model.roi_heads} if system == "maskrcnn" else {"bbox_head": model.head}
    assert {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()} == recorded["parts"]


def test_the_background_comes_first():
    given = official.meta_state_dict("maskrcnn_L1")
    given["roi_head.bbox_head.fc_cls.bias"] = torch.arange(81)
    converted = convert_official(given)["roi_heads.box_predictor.cls_score.bias"]
    assert converted.tolist() == [80, *range(80)]


def test_an_entry_without_counterpart_is_named():
    given = official.meta_state_dict("retinanet_L1")
    with pytest.raises(ValueError, match=r"no counterpart for bbox_head\.more\.weight, neck\.other"):
        convert_official({**given, "bbox_head.more.weight": torch.zeros(1), "neck.other": torch.zeros(1)})
