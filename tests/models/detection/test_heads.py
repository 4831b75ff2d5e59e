"""Losses and pooling of both detectors against plain formulas over single anchors and proposals."""

import types

import pytest
import torch
import torch.nn.functional as F
from models.detection import naive
from torchvision.models.detection.roi_heads import maskrcnn_loss
from torchvision.ops import roi_align

from gpvit.models.detection.detector import best_of_each_class
from gpvit.models.detection.masks import crop_masks
from gpvit.models.detection.proposals import L1RegionProposalNetwork
from gpvit.models.detection.retinanet import RetinaNet
from gpvit.models.detection.roi_heads import AlignedPyramidPool, L1RoIHeads

CHANNELS, CLASSES = 8, 3
SIZES = [(64, 96), (60, 40)]  # the second is padded by itself to 64x64, and in the batch to 64x96
STRIDES = (8, 16, 32)
ALL = 10**6


def maps() -> list[torch.Tensor]:
    return [torch.randn(2, CHANNELS, 64 // stride, 96 // stride) for stride in STRIDES]


def targets() -> list[dict[str, torch.Tensor]]:
    # The last is too small for any anchor.
    boxes = torch.tensor([[4.0, 5, 40, 44], [10.0, 8, 50, 50], [60.0, 30, 95, 60], [70.0, 4, 76, 9]])
    first = {"boxes": boxes, "labels": torch.tensor([1, 3, 2, 1]), "masks": torch.rand(4, 64, 96) > 0.5}
    box = torch.tensor([[2.0, 20.0, 38.0, 58.0]])
    return [first, {"boxes": box, "labels": torch.tensor([2]), "masks": torch.rand(1, 64, 96) > 0.5}]


def own_anchors(anchors: torch.Tensor, image: int) -> list[bool]:
    """Which anchors are centred on an image or its own padding."""
    limit = [-(-side // 32) * 32 for side in SIZES[image]]
    x, y = (anchors[:, :2] + anchors[:, 2:]).div(2).round().unbind(1)
    return ((x < limit[1]) & (y < limit[0])).tolist()


def test_losses_of_the_proposals():
    network, features, objects = L1RegionProposalNetwork(CHANNELS, STRIDES, 4.0), maps(), targets()
    torch.nn.init.normal_(network.head.bbox_pred.weight, std=0.3)
    network.fg_bg_sampler.batch_size_per_image = ALL
    _, losses = network(features, SIZES, objects)

    logits, deltas = network.head(features)
    anchors = torch.cat(network.anchor_generator(features))
    entropy, distance, count, positives = 0.0, 0.0, 0, 0
    for i in range(2):
        logit = torch.cat([level[i].permute(1, 2, 0).flatten() for level in logits]).tolist()
        delta = torch.cat([level[i].permute(1, 2, 0).reshape(-1, 4) for level in deltas]).tolist()
        boxes = objects[i]["boxes"].tolist()
        matches = naive.match(objects[i]["boxes"], anchors, 0.7, 0.3, 0.3)
        for j, (match, valid) in enumerate(zip(matches, own_anchors(anchors, i), strict=True)):
            if valid and match != -2:
                count += 1
                entropy += naive.binary_cross_entropy(logit[j], match >= 0)
                if match >= 0:
                    positives += 1
                    distance += naive.distance(delta[j], naive.deltas(boxes[match], anchors[j].tolist()))
    assert positives > 3
    assert losses["loss_objectness"].item() == pytest.approx(entropy / count, rel=1e-4)
    assert losses["loss_rpn_box_reg"].item() == pytest.approx(distance / count, rel=1e-4)


def test_half_of_the_sampled_anchors_are_objects_at_the_most():
    network = L1RegionProposalNetwork(CHANNELS, STRIDES)
    labels = torch.tensor([1.0] * 300 + [0.0] * 500 + [-1.0] * 100)
    positive, negative = network.fg_bg_sampler([labels])
    assert (positive[0].sum(), negative[0].sum()) == (128, 128)
    assert not positive[0][300:].any()
    assert not negative[0][:300].any()
    assert not negative[0][800:].any()


@torch.no_grad()
def test_proposals_are_proper_few_and_apart():
    network = L1RegionProposalNetwork(CHANNELS, STRIDES).eval()
    torch.nn.init.normal_(network.head.bbox_pred.weight, std=0.3)
    proposals, losses = network(maps(), SIZES)
    assert not losses
    for boxes, (height, width) in zip(proposals, SIZES, strict=True):
        assert 10 < len(boxes) <= 1000
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert boxes.min() >= 0
        assert boxes[:, 2].max() <= width
        assert boxes[:, 3].max() <= height


def region_heads() -> L1RoIHeads:
    heads = L1RoIHeads(CLASSES, CHANNELS, STRIDES)
    for module in (heads.box_predictor, heads.mask_predictor):
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    heads.fg_bg_sampler = type(heads.fg_bg_sampler)(ALL, 0.5)
    return heads


def proposals() -> list[torch.Tensor]:
    low = torch.rand(2, 60, 2) * torch.tensor([40.0, 30.0])
    near = torch.stack([targets()[i]["boxes"][0] + torch.randn(20, 4) * 2 for i in range(2)])
    boxes = torch.cat([torch.cat([low, low + 5 + torch.rand(2, 60, 2) * 30], dim=2), near], dim=1)
    return list(boxes)


def test_losses_of_the_regions():
    heads, features, objects, given = region_heads(), maps(), targets(), proposals()
    losses = heads(features, [own.clone() for own in given], objects)

    entropy, distance, count, found = 0.0, 0.0, 0, []
    everything = [torch.cat([own, target["boxes"]]) for own, target in zip(given, objects, strict=True)]
    logits, deltas = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, everything)))
    rows = iter(zip(logits.tolist(), deltas.tolist(), strict=True))
    for i, (own, target) in enumerate(zip(given, objects, strict=True)):
        boxes = target["boxes"].tolist()
        matches = naive.match(target["boxes"], own, 0.5, 0.5, 0.5) + list(range(len(boxes)))
        for box, match in zip(everything[i], matches, strict=True):
            logit, delta = next(rows)
            label = int(target["labels"][match]) if match >= 0 else 0
            entropy += naive.cross_entropy(logit, label)
            count += 1
            if label:
                wanted = naive.deltas(boxes[match], box.tolist())
                wanted = [w * weight for w, weight in zip(wanted, (10, 10, 5, 5), strict=True)]
                distance += naive.distance(delta[4 * label - 4 : 4 * label], wanted)
                found.append((i, box, label, target["masks"][match]))
    assert 10 < len(found) < count - 10
    assert losses["loss_classifier"].item() == pytest.approx(entropy / count, rel=1e-4)
    assert losses["loss_box_reg"].item() == pytest.approx(distance / count, rel=1e-4)

    boxes = [torch.stack([box for i, box, _, _ in found if i == image]) for image in range(2)]
    logits = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(features, boxes)))
    entropies = []
    for logit, (_, box, label, mask) in zip(logits, found, strict=True):
        wanted = roi_align(mask[None, None].float(), [box[None]], 28, aligned=True)[0, 0] >= 0.5
        entropies.append(F.binary_cross_entropy(logit[label - 1].sigmoid(), wanted.float()))
    assert losses["loss_mask"].item() == pytest.approx(torch.stack(entropies).mean().item(), rel=1e-4)


def test_torchvisions_mask_loss_is_near():
    """It aligns half a pixel off and takes fractions of a pixel as labels, so it is no more than near."""
    mask = torch.zeros(1, 64, 96, dtype=torch.uint8)
    mask[0, 10:50, 20:70] = 1
    boxes, index = torch.tensor([[15.0, 5.0, 75.0, 60.0]]), torch.zeros(1, dtype=torch.int64)
    logits = torch.randn(1, CLASSES, 28, 28)
    expected = maskrcnn_loss(logits, [boxes], [mask], [torch.ones(1, dtype=torch.int64)], [index])
    ours = F.binary_cross_entropy_with_logits(logits[:, 1], crop_masks(mask, boxes, index, 28))
    assert ours.item() == pytest.approx(expected.item(), rel=0.1)


def retinanet() -> types.SimpleNamespace:
    """RetinaNet's head without the backbone, which takes no part in the losses."""
    model = RetinaNet.__new__(RetinaNet)
    torch.nn.Module.__init__(model)
    model.num_classes = CLASSES
    model.build_heads(CHANNELS)
    return model


@pytest.mark.parametrize("empty", [False, True])
def test_losses_of_retinanet(empty):
    model, objects = retinanet(), targets()
    if empty:
        objects[1] = {name: value[:0] for name, value in objects[1].items()}
    features = [torch.randn(2, CHANNELS, -(-64 // s), -(-96 // s)) for s in (8, 16, 32, 64, 128)]
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    losses = model.losses(features, SIZES, objects)

    outputs = model.head(features)
    anchors = torch.cat(model.anchor_generator(features))
    entropy, distance, positives = 0.0, 0.0, 0
    for i in range(2):
        logits, deltas = outputs["cls_logits"][i].tolist(), outputs["bbox_regression"][i].tolist()
        boxes = objects[i]["boxes"].tolist()
        matches = naive.match(objects[i]["boxes"], anchors, 0.5, 0.4, 0.0)
        for j, (match, valid) in enumerate(zip(matches, own_anchors(anchors, i), strict=True)):
            if valid and match != -2:
                label = int(objects[i]["labels"][match]) if match >= 0 else 0
                entropy += sum(naive.focal(logit, k + 1 == label) for k, logit in enumerate(logits[j]))
                if label:
                    positives += 1
                    distance += naive.distance(deltas[j], naive.deltas(boxes[match], anchors[j].tolist()))
    assert positives > 10
    positives += empty  # an image without objects counts as one
    assert losses["classification"].item() == pytest.approx(entropy / positives, rel=1e-4)
    assert losses["bbox_regression"].item() == pytest.approx(distance / positives, rel=1e-4)


def test_pooling_takes_the_map_that_suits_the_size():
    features = [torch.randn(2, 4, 64 // s, 96 // s) for s in (4, 8, 16)]
    sides = {20.0: 0, 111.0: 0, 113.0: 1, 223.0: 1, 225.0: 2, 900.0: 2}
    boxes = torch.tensor([[1.3, 2.4, 1.3 + side, 2.4 + side] for side in sides])
    pool = AlignedPyramidPool(7, (4, 8, 16))
    assert pool.levels(boxes).tolist() == list(sides.values())
    assert pool.levels(torch.tensor([[0.0, 0, 56 * 4, 56], [5.0, 5, 5, 9]])).tolist() == [1, 0]
    pooled = pool([*features, torch.zeros(0)], [boxes[:2], boxes[2:]])
    for i, (box, level) in enumerate(zip(boxes, sides.values(), strict=True)):
        image = features[level][int(i >= 2)][None]
        expected = roi_align(image, [box[None]], 7, 1 / (4, 8, 16)[level], aligned=True)
        torch.testing.assert_close(pooled[i], expected[0])


def test_pooling_is_precise_in_16_bits():
    features, boxes = [torch.randn(1, 4, 64, 64)], torch.rand(20, 2) * 100
    boxes = torch.cat([boxes, boxes + 50], dim=1)
    pool = AlignedPyramidPool(7, (4,))
    pooled = pool([feature.bfloat16() for feature in features], [boxes])
    assert pooled.dtype == torch.bfloat16
    torch.testing.assert_close(pooled.float(), pool(features, [boxes]), atol=0.03, rtol=0.03)


def test_the_best_boxes_of_each_class_stay():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9], [0, 0, 10, 4], [20, -5, 99, 10]])
    scores, labels = torch.tensor([0.6, 0.9, 0.5, 0.8, 0.7]), torch.tensor([1, 1, 2, 1, 1])
    best = best_of_each_class(boxes, scores, labels, (20, 40), (10, 80), 0.5, 4)
    assert best["scores"].tolist() == pytest.approx([0.9, 0.8, 0.7, 0.5])
    assert best["labels"].tolist() == [1, 1, 1, 2]
    assert best["boxes"].tolist() == [[0, 0, 20, 4.5], [0, 0, 20, 2], [40, 0, 80, 5], [0, 0, 20, 4.5]]
