"""Both detectors as a whole, at our smallest size."""

import pytest
import torch
from torchvision.ops import box_iou

import gpvit  # noqa: F401  timm learns the models
from gpvit.models.detection.detector import Detector
from gpvit.models.detection.mask_rcnn import MaskRCNN
from gpvit.models.detection.retinanet import RetinaNet

MODELS = [MaskRCNN, RetinaNet]
SMALL = {"num_classes": 3, "channels": 32, "min_size": 64, "max_size": 128}


def build(kind: type[Detector], **kwargs) -> Detector:
    torch.manual_seed(0)
    return kind("gpvit_nano", **{**SMALL, **kwargs})


@pytest.fixture(scope="module", params=MODELS)
def model(request) -> Detector:
    model = build(request.param).eval()
    if isinstance(model, RetinaNet):  # whose scores start below the threshold
        for parameter in model.head.parameters():
            if parameter.ndim == 4:
                torch.nn.init.kaiming_normal_(parameter)
    return model


def image_of(height: int = 64, width: int = 96) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(height * width))


def sample(height: int = 64, width: int = 96) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Two bright squares on noise."""
    image, boxes = image_of(height, width) * 0.3, torch.tensor([[8.0, 8.0, 40.0, 40.0], [50.0, 20.0, 86.0, 56.0]])
    masks = torch.zeros(2, height, width, dtype=torch.uint8)
    for i, (left, top, right, bottom) in enumerate(boxes.int().tolist()):
        masks[i, top:bottom, left:right] = 1
        image[i, top:bottom, left:right] = 1.0
    return image, {"boxes": boxes, "labels": torch.tensor([1, 3]), "masks": masks}


def mirrored(target: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    width = target["masks"].shape[2]
    boxes = target["boxes"] * torch.tensor([-1.0, 1, -1, 1]) + torch.tensor([width, 0.0, width, 0])
    return {**target, "boxes": boxes[:, [2, 1, 0, 3]], "masks": target["masks"].flip(2)}


def without_objects(height: int, width: int) -> dict[str, torch.Tensor]:
    empty = torch.zeros(0, height, width, dtype=torch.uint8)
    return {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "masks": empty}


def assert_proper(detections: dict[str, torch.Tensor], model: Detector, size: tuple[int, int]) -> None:
    count = len(detections["boxes"])
    assert set(detections) == {"boxes", "labels", "scores"} | ({"masks"} if model.has_masks else set())
    assert detections["boxes"].shape == (count, 4)
    assert detections["labels"].dtype == torch.int64
    assert count <= 100
    if count:  # a test of its own sees to it that there are some
        assert detections["boxes"].min() >= 0
        assert (detections["boxes"][:, 2:].amax(dim=0) <= torch.tensor([size[1], size[0]]) + 1e-3).all()
        assert 1 <= detections["labels"].min() <= detections["labels"].max() <= 3
        assert 0.05 < detections["scores"].min() <= detections["scores"].max() <= 1
        assert detections["scores"].diff().le(0).all()
    if model.has_masks:
        assert detections["masks"].shape == (count, 1, *size)
        assert detections["masks"].dtype == torch.float32


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.slow
def test_learns_an_image_by_heart(kind):
    image, target = sample()
    model = build(kind)
    model.transform._skip_resize = True
    if isinstance(model, MaskRCNN):
        model.roi_heads.fg_bg_sampler.batch_size_per_image = 32
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    totals = []
    for _ in range(10):
        losses = model([image, image.flip(2)], [target, mirrored(target)])
        assert all(loss.ndim == 0 for loss in losses.values())
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        totals.append(total.item())
    assert min(totals[-2:]) < 0.75 * totals[0], totals
    found = model.train().eval()([image])[0]
    assert_proper(found, model, (64, 96))


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("empty", [False, True])
def test_every_parameter_has_a_gradient(kind, empty):
    model = build(kind)
    for parameter in model.parameters():
        if not parameter.any():  # what starts from zero holds back the gradients of others
            torch.nn.init.normal_(parameter, std=0.1)
    image, target = sample()
    losses = model([image, image_of(50, 70)], [without_objects(64, 96) if empty else target, without_objects(50, 70)])
    total = torch.stack(list(losses.values())).sum()
    assert total.isfinite()
    total.backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    if not empty:
        assert [n for n, p in model.named_parameters() if not p.grad.any()] == []


def test_detections_are_torchvisions(model):
    images = [image_of(64, 96), image_of(37, 50)]
    for detections, image in zip(model(images), images, strict=True):
        assert len(detections["boxes"]) > 20
        assert_proper(detections, model, tuple(image.shape[1:]))


@torch.no_grad()
def test_images_of_one_size_do_not_change_each_other(model):
    images = [image_of(64, 96), image_of(64, 96).flip(2)]
    together = model(images)
    for image, batched in zip(images, together, strict=True):
        alone = model([image])[0]
        torch.testing.assert_close(batched["scores"], alone["scores"], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_nothing_found(model):
    holder = model.roi_heads if model.has_masks else model
    threshold, holder.score_thresh = holder.score_thresh, 1.0
    detections = model([image_of(), image_of(37, 50)])
    holder.score_thresh = threshold
    assert [len(found["boxes"]) for found in detections] == [0, 0]
    assert_proper(detections[1], model, (37, 50))


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 5000), (3000, 2), (1, 1)])
def test_extreme_shapes(model, size):
    assert_proper(model([image_of(*size)])[0], model, size)


@pytest.mark.parametrize("kind", MODELS)
def test_more_than_ten_thousand_objects(kind):
    model = build(kind)
    corners = torch.rand(10_001, 2) * torch.tensor([84.0, 52.0])
    boxes = torch.cat([corners, corners + 10], dim=1)
    target = {"boxes": boxes, "labels": torch.ones(10_001, dtype=torch.int64)}
    target["masks"] = torch.ones(1, 64, 96, dtype=torch.uint8).expand(10_001, -1, -1)
    model.transform._skip_resize = True
    assert all(loss.isfinite() for loss in model([image_of()] * 2, [target] * 2).values())


@pytest.mark.parametrize("kind", MODELS)
def test_mixed_precision(kind):
    model, (image, target) = build(kind), sample()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model([image] * 2, [target] * 2)
        found = model.eval()([image])[0]
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    assert_proper(found, model, (64, 96))
    assert found["scores"].dtype == found["boxes"].dtype == torch.float32


@torch.no_grad()
def test_forms_of_masks():
    model, image = build(MaskRCNN).eval(), image_of()
    probability = model([image])[0]
    model.mask_format = "binary"
    assert torch.equal(model([image])[0]["masks"], probability["masks"] >= 0.5)
    model.mask_format = "box"
    assert model([image])[0]["masks"].shape == (len(probability["boxes"]), 1, 28, 28)
    model.mask_format = "bool"
    with pytest.raises(ValueError, match="probability, binary, box; got 'bool'"):
        model([image])


@torch.no_grad()
def test_answers_are_for_the_image_as_it_was_given(model):
    """Of an image and of its enlargement, which the model resizes alike, the boxes are the same but for the scale."""
    size = model.transform.min_size
    model.transform.min_size = (64,)
    image = image_of(64, 96)
    enlarged = image.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)  # bilinear by half gives it back
    small, large = model([image])[0], model([enlarged])[0]
    model.transform.min_size = size
    torch.testing.assert_close(small["scores"], large["scores"], atol=1e-4, rtol=1e-4)
    assert box_iou(2 * small["boxes"][:20], large["boxes"]).amax(dim=1).nan_to_num(1).min() > 0.99
    if model.has_masks:
        assert large["masks"].shape[1:] == (1, 128, 192)


def test_other_channels_and_sizes_are_described():
    model = RetinaNet("gpvit_nano", in_chans=1, min_size=[48, 64], max_size=100, channels=32)
    assert model.pretrained_cfg["input_size"] == (1, 64, 100)
    assert model.pretrained_cfg["mean"] == pytest.approx((0.449,))
    assert model.task == "detection"
    assert (model.num_classes, model.in_chans) == (80, 1)
    with pytest.raises(ValueError, match="image_mean has 3 values for images of 1 channels"):
        RetinaNet("gpvit_nano", in_chans=1, image_mean=(0.5, 0.5, 0.5))


def test_initial_values():
    """As in the code: each kind of layer by the distribution that its configuration names."""
    mask_rcnn, retina = build(MaskRCNN, channels=64), build(RetinaNet, channels=64)
    rpn, heads, head = mask_rcnn.rpn.head, mask_rcnn.roi_heads, retina.head
    laterals, extra = mask_rcnn.backbone.fpn.inner_blocks, retina.backbone.fpn.extra_blocks.convs
    expected = [  # layer, standard deviation, largest value if uniform
        (laterals[0][0], (2 / (72 + 64)) ** 0.5, (6 / (72 + 64)) ** 0.5),
        (extra[1][0], (1 / (9 * 64)) ** 0.5, (3 / (9 * 64)) ** 0.5),
        (rpn.conv[0][0], 0.01, None),
        (rpn.bbox_pred, 0.01, None),
        (heads.box_head[3][0], (2 / (9 * 64)) ** 0.5, None),
        (heads.box_head[5], (2 / (49 * 64 + 256)) ** 0.5, (6 / (49 * 64 + 256)) ** 0.5),
        (heads.box_predictor.cls_score, 0.01, None),
        (heads.box_predictor.bbox_pred, 0.001, None),
        (heads.mask_head[0][0], (2 / (9 * 64)) ** 0.5, None),
        (heads.mask_predictor.conv5_mask, (2 / (4 * 64)) ** 0.5, None),
        (heads.mask_predictor.mask_fcn_logits, (2 / 3) ** 0.5, None),
        (head.classification_head.conv[3][0], 0.01, None),
        (head.classification_head.cls_logits, 0.01, None),
        (head.regression_head.bbox_reg, 0.01, None),
    ]
    for layer, deviation, limit in expected:
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.15), layer
        if limit is not None:
            assert 0.9 * limit < layer.weight.abs().max() <= limit, layer
        if layer.bias is not None and layer is not head.classification_head.cls_logits:
            assert not layer.bias.any(), layer
    assert head.classification_head.cls_logits.bias.sigmoid().tolist() == pytest.approx([0.01] * 27)


@torch.no_grad()
def test_any_plain_transformer_can_be_the_backbone():
    model = MaskRCNN("vit_tiny_patch16_224", drop_path_rate=0.1, **SMALL).eval()
    assert model.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)  # it was trained so
    assert_proper(model([image_of(64, 80)])[0], model, (64, 80))


def test_options_of_the_heads():
    model = build(MaskRCNN, head_kwargs={"anchor_scale": 4, "rois_per_image": 64})
    assert model.roi_heads.fg_bg_sampler.batch_size_per_image == 64
    anchors = model.rpn.anchor_generator([torch.zeros(1, 1, 1, 1)] * 5)
    assert anchors[0][1].tolist() == [-8.0, -8.0, 8.0, 8.0]
    with pytest.raises(TypeError, match="rois"):
        build(RetinaNet, head_kwargs={"rois_per_image": 64})


def test_training_checks_its_targets():
    model, (image, target) = build(RetinaNet), sample()
    target["boxes"][1, 0] = float("nan")
    with pytest.raises(ValueError, match="box 1 of target 0"):
        model([image], [target])
    with pytest.raises(ValueError, match="training needs a target"):
        model([image])
    with pytest.raises(ValueError, match="image 0 must have"):
        model([image[:1]], [target])
    with pytest.raises(ValueError, match="one image of 96x64 pixels has a single cell at stride 128"):
        model(*([given] for given in sample()))


def test_what_weight_decay_spares_exists(model):
    names = dict(model.named_parameters())
    no_decay = model.no_weight_decay()
    assert no_decay <= names.keys()
    assert any(name.endswith("pos_embed") for name in no_decay)


@pytest.mark.parametrize("kind", MODELS)
def test_recomputation_changes_no_gradient(kind):
    gradients = []
    for enable in (False, True):
        model, (image, target) = build(kind), sample()
        model.set_grad_checkpointing(enable)
        torch.manual_seed(1)
        torch.stack(list(model([image] * 2, [target] * 2).values())).sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)
