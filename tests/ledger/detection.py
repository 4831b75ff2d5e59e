"""What the ledger says of detection."""

import pytest
import timm
import torch
import torch.nn.functional as F
from ledger.page import Entry, check, drop_path_of, settings, shape_of, tokens, zeroed
from ledger.segmentation import check_batch, check_parameters
from torch import nn

import gpvit
from gpvit.data.transforms.detection import DetectionAugmentation, RandomSizeCrop, training_transform
from gpvit.models.adapter import ViTAdapter
from gpvit.models.detection.assign import BELOW_LOW_THRESHOLD, BestMatcher, FixedStrideAnchors
from gpvit.models.detection.roi_heads import L1RoIHeads
from gpvit.tasks.optim import OptimConfig, lr_factor
from gpvit.tasks.param_groups import parameter_groups

LEVELS = (1, 2, 3, 4)
DETECTORS = ("mask_rcnn", "retinanet")


def recipe(detector: str, level: int = 1, schedule: str = "1x") -> str:
    """Name a recipe."""
    return f"coco/{detector}_gpvit_l{level}_{schedule}"


@check("Schedule, COCO")
def _(entry: Entry) -> None:
    expected = {"1x": (12, [8, 11]), "3x": (36, [27, 33])}
    for schedule, (epochs, milestones) in expected.items():
        for detector in DETECTORS:
            used = settings(recipe(detector, schedule=schedule))
            assert (used["train.epochs"], used["optim.milestones"]) == (epochs, milestones)
            assert (used["optim.warmup_steps"], used["optim.warmup_ratio"]) == (500, 0.001)
    entry.says("12 epochs (1x)", "36 epochs (3x)", "after 8 and again after 11", "27 and 33", "500 steps", "0.001")
    falls = lr_factor(OptimConfig(lr=1.0, schedule="multistep", milestones=(27, 33), warmup_steps=500), 3600, 100)
    rates = [falls(step) for step in (0, 500, 2699, 2700, 3299, 3300)]
    assert rates == pytest.approx([0.001, 1, 1, 0.1, 0.1, 0.01])
    assert settings(recipe("retinanet", schedule="3x"), "--optim.milestones", "[24, 33]")["optim.milestones"] == [
        24,
        33,
    ]


@check("Augmentation of schedule 3x")
def _(entry: Entry) -> None:
    used = settings(recipe("mask_rcnn", schedule="3x"))
    own = {name.rpartition(".")[2]: value for name, value in used.items() if name.startswith("data.augmentation.")}
    assert (own["short_sides"][0], own["short_sides"][-1]) == (480, 800)
    assert (own["zoom_crop"], own["largest_side"]) == ([384, 600], 1024)
    entry.says("480 to 800", "384 to 600", "1024 x 1024")
    crop = training_transform(DetectionAugmentation(**own)).transforms[2]  # after mirroring and resizing
    assert isinstance(crop, RandomSizeCrop)
    assert (crop.fewest, crop.most) == (1024, 1024)
    without = settings(recipe("mask_rcnn", schedule="3x"), "--data.augmentation.largest_side", "1333")
    assert without["data.augmentation.largest_side"] == without["data.augmentation.long_side"] == 1333


@check("Stochastic depth, COCO")
def _(entry: Entry) -> None:
    rates = {
        (detector, schedule): [drop_path_of(recipe(detector, level, schedule)) for level in LEVELS]
        for detector in DETECTORS
        for schedule in ("1x", "3x")
    }
    assert rates["mask_rcnn", "1x"] == [0.1, 0.1, 0.1, 0.2]
    assert rates["retinanet", "1x"] == [0.1] * 4
    assert rates["mask_rcnn", "3x"] == rates["retinanet", "3x"] == [0.1, 0.1, 0.2, 0.2]
    entry.says("0.1, 0.1, 0.1, 0.2", "0.1 throughout", "0.1, 0.1, 0.2, 0.2")
    body = shape_of("mask_rcnn_gpvit_l1", drop_path_rate=0.2).backbone.body
    assert {module.drop_prob for module in body.extractors.modules() if hasattr(module, "drop_prob")} == {0.2}
    blocks = [block.mlp.drop_path.drop_prob for block in body.backbone.blocks]
    assert blocks == pytest.approx([0.2 * i / 11 for i in range(12)])


@check("Batch, COCO")
def _(entry: Entry) -> None:
    check_batch(entry, recipe("mask_rcnn"))
    assert settings(recipe("retinanet"))["optim.lr"] == 2e-4
    assert 1e-4 / 16 == 2e-4 / 32
    entry.says("2e-4", "1e-4 for 16", "2e-4 for 32")


@check("Gradient clip, COCO")
def _(entry: Entry) -> None:
    for schedule in ("1x", "3x"):
        clips = [settings(recipe(detector, 1, schedule))["train.clip"] for detector in DETECTORS]
        assert clips == [None, 35]
    entry.says("none for Mask R-CNN", "35 for RetinaNet")


@check("Weight decay, COCO")
def _(entry: Entry) -> None:
    used = settings(recipe("mask_rcnn"))
    assert used["optim.weight_decay"] == 0.05
    model = shape_of("mask_rcnn_gpvit_l1")
    names = {id(parameter): name.removeprefix("backbone.body.") for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, lr=1.0, weight_decay=0.05, no_decay=used["optim.no_decay"])
    decay = {names[id(parameter)]: group["weight_decay"] for group in groups for parameter in group["params"]}
    no_decay = {"level_embed", "backbone.pos_embed", "backbone.blocks.1.group_tokens", "norms.8.weight"}
    no_decay |= {"backbone.blocks.0.norm.weight", "backbone.stem.first.norm.bias", "spatial_prior.proj.8.bias"}
    assert {decay[name] for name in no_decay} == {0}
    decaying = {"injectors.0.gamma", "backbone.stem.first.norm.weight", "backbone.blocks.1.dwconv.norm.weight"}
    decaying |= {"spatial_prior.stem.0.norm.weight", "backbone.fpn.inner_blocks.0.1.weight"}
    assert {decay[name] for name in decaying} == {0.05}


@check("Final norm in detectors")
def _(entry: Entry) -> None:
    for detector in DETECTORS:
        backbone = shape_of(f"{detector}_gpvit_l1").backbone.body.backbone
        assert isinstance(backbone.norm, nn.Identity)
        assert not backbone.feature_norms
    assert isinstance(shape_of("gpvit_l1").norm, nn.LayerNorm)


@check("The adapter at stride 8")
@torch.no_grad()
def _(entry: Entry) -> None:
    image = tokens(1, 3, 64, 96)
    for name, patch in (("gpvit_nano", 8), ("vit_d216_p16", 16)):
        adapter = ViTAdapter(timm.create_model(name), num_heads=2).eval()
        assert adapter.patch == patch
        assert [x.shape[2:] for x in adapter(image)] == [(64 // s, 96 // s) for s in (4, 8, 16, 32)]
    for outputs, scales in ((4, (2, 1, 0.5, 0.25)), (3, (1, 0.5, 0.25))):
        body = ViTAdapter(timm.create_model("gpvit_nano"), num_heads=2, num_outputs=outputs).eval()
        zeroed(body.spatial_prior, *body.extractors, *body.norms.values())
        if outputs == 4:
            zeroed(body.upsample)
        nn.init.zeros_(body.level_embed)  # what is left of the pyramid is nothing but the tokens
        for norm in body.norms.values():
            nn.init.ones_(norm.weight)
        features = body.backbone.forward_intermediates(image, indices=1, intermediates_only=True)[0]
        for output, scale in zip(body(image), scales, strict=True):
            expected = F.interpolate(features, scale_factor=scale, mode="bilinear") / (1 + 1e-5) ** 0.5
            torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    entry.says("2, 1, 1/2 and 1/4")


@check("Norms and losses of the detectors' heads")
def _(entry: Entry) -> None:
    mask_rcnn, retinanet = (shape_of(f"{detector}_gpvit_l1") for detector in DETECTORS)

    def count(module: nn.Module, kind: type[nn.Module]) -> int:
        return sum(isinstance(each, kind) for each in module.modules())

    for pyramid in (mask_rcnn.backbone.fpn, retinanet.backbone.fpn):
        assert count(pyramid, nn.Conv2d) == count(pyramid, nn.BatchNorm2d) > 0
    heads = mask_rcnn.roi_heads
    layers = [count(heads.box_head, kind) for kind in (nn.Conv2d, nn.BatchNorm2d, nn.Linear)]
    assert layers == [4, 4, 1]
    for unnormed in (heads.mask_head, heads.mask_predictor, retinanet.head):
        assert count(unnormed, nn.Conv2d)
        assert not count(unnormed, nn.BatchNorm2d) + count(unnormed, nn.LayerNorm) + count(unnormed, nn.GroupNorm)
    small = gpvit.create_model("mask_rcnn_gpvit_nano", num_classes=2, min_size=64)
    logits = torch.zeros(2, 1)
    wanted = [torch.tensor([[0.0, 0, 0, 0], [0, 0, 0, 0]])]
    losses = [
        small.rpn.compute_loss(logits, torch.full((2, 4), off), [torch.tensor([1.0, 0.0])], wanted)[1].item()
        for off in (0.01, 0.02)
    ]
    assert losses == pytest.approx([0.02, 0.04])  # linear from zero on, of two samples' mean


@check("Anchors")
def _(entry: Entry) -> None:
    (anchors,) = FixedStrideAnchors([8], [4.0])([torch.empty(1, 1, 2, 3)])
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert centres[::3].tolist() == [[x, y] for y in (0, 8) for x in (0, 8, 16)]  # three anchors in each cell
    sides = (anchors[:3, 2:] - anchors[:3, :2]).flatten()
    torch.testing.assert_close(sides, 32 * torch.tensor([2**0.5, 0.5**0.5, 1, 1, 0.5**0.5, 2**0.5]))


@check("Low-quality matches in the second stage")
def _(entry: Entry) -> None:
    matcher = L1RoIHeads(2, 16, (4, 8)).proposal_matcher
    assert isinstance(matcher, BestMatcher)
    assert matcher.least_best == 0.5
    entry.says("0.5")
    truth = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 7]])
    boxes = torch.tensor([[0.0, 0, 10, 9], [0, 40, 10, 50]])  # the one box is nearer to the first object ...
    assert matcher(truth, boxes).tolist() == [1, BELOW_LOW_THRESHOLD]  # ... and the best of the second
    assert matcher(truth[:1] * torch.tensor([1, 1, 1, 0.4]), boxes)[0] == BELOW_LOW_THRESHOLD


@check("Parameters of detectors (Tables 3 and 4)")
def _(entry: Entry) -> None:
    check_parameters(entry, DETECTORS)
