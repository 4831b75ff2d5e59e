"""Anchors, deltas and matching against torchvision's where these agree, else against formulas and loops over pairs."""

import math

import pytest
import torch
from models.detection import naive
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from gpvit.models.detection import assign
from gpvit.models.detection.assign import BestMatcher, FixedStrideAnchors, bounded_deltas, within_padding


@pytest.mark.parametrize("scales", [(8.0,), (4.0, 4 * 2 ** (1 / 3), 4 * 2 ** (2 / 3))])
def test_torchvisions_anchors_without_their_rounding(scales):
    strides, maps = (4, 8), [torch.zeros(2, 1, 16, 24), torch.zeros(2, 1, 8, 12)]
    theirs = AnchorGenerator([[s * scale for scale in scales] for s in strides], [(0.5, 1.0, 2.0)] * 2)
    expected = theirs(ImageList(torch.zeros(2, 3, 64, 96), [(64, 96)] * 2), maps)[0]
    ours = torch.cat(FixedStrideAnchors(strides, scales)(maps))
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() <= 0.5


def test_anchors_keep_area_ratio_and_place_on_a_rounded_up_map():
    height, width, stride = 5, 7, 64  # a map of an image 288 high, where torchvision infers a stride of 57
    anchors = FixedStrideAnchors([stride], [2.0, 3.0])([torch.zeros(1, 1, height, width, dtype=torch.bfloat16)])[0]
    anchors = anchors.view(height, width, 3, 2, 4)
    assert anchors.dtype == torch.float32
    x, y = (anchors[..., :2] + anchors[..., 2:]).div(2).unbind(-1)
    torch.testing.assert_close(x, torch.arange(width)[None, :, None, None].mul(stride).float().expand_as(x))
    torch.testing.assert_close(y, torch.arange(height)[:, None, None, None].mul(stride).float().expand_as(y))
    sides = anchors[..., 2:] - anchors[..., :2]
    area = torch.tensor([128.0**2, 192.0**2]).expand_as(sides[..., 0])
    torch.testing.assert_close(sides.prod(dim=-1), area)
    ratio = torch.tensor([0.5, 1.0, 2.0])[:, None].expand_as(area)
    torch.testing.assert_close(sides[..., 1] / sides[..., 0], ratio)


def random_boxes(count: int, size: float = 100.0) -> torch.Tensor:
    corners = torch.rand(count, 2, 2) * size
    return torch.cat([corners.amin(dim=1), corners.amax(dim=1) + 5], dim=1)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_sides_are_bounded_on_both_ends(weights):
    coder, boxes = BoxCoder(weights), random_boxes(50)
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 3)
    for sign, factor in ((-1, 16 / 1000), (1, 1000 / 16)):
        deltas = torch.zeros(50, 3, 4)
        deltas[..., 2:] = sign * 100.0
        decoded = coder.decode_single(bounded_deltas(deltas.flatten(1), coder), boxes).unflatten(1, (3, 4))
        new = (decoded[..., 2:] - decoded[..., :2]).flatten(1)
        torch.testing.assert_close(new, sides * factor, rtol=1e-3, atol=1e-4)
    moderate = torch.randn(50, 12)
    assert torch.equal(bounded_deltas(moderate, coder), moderate)


@pytest.mark.parametrize(("size", "divisor"), [((33, 64), 32), ((64, 1), 32), ((20, 90), 16)])
def test_anchors_beyond_an_images_own_padding_are_found(size, divisor):
    generator = FixedStrideAnchors((4, 8, 16), (8.0, 10.1))
    maps = [torch.zeros(1, 1, -(-96 // stride), -(-128 // stride)) for stride in (4, 8, 16)]
    limit = [math.ceil(side / divisor) * divisor for side in size]
    expected = [
        y * stride < limit[0] and x * stride < limit[1]
        for stride in (4, 8, 16)
        for y in range(-(-96 // stride))
        for x in range(-(-128 // stride))
        for _ in range(6)
    ]
    assert within_padding(torch.cat(generator(maps)), size, divisor).tolist() == expected


SETTINGS = {"proposals": (0.7, 0.3, 0.3), "regions": (0.5, 0.5, 0.5), "retinanet": (0.5, 0.4, 0.0)}


def scene(seed: int, objects: int, boxes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes on a coarse grid, so that many overlap equally."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.randint(0, 8, (objects + boxes, 2), generator=generator).float()
    side = torch.randint(1, 6, (objects + boxes, 2), generator=generator).float()
    return torch.cat([low, low + side], dim=1).split([objects, boxes])


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_box_is_matched_as_by_loops(setting, seed):
    truth, boxes = scene(seed, seed % 6, 40)
    high, low, least = SETTINGS[setting]
    expected = naive.match(truth, boxes, high, low, least)
    assert BestMatcher(high, low, least)(truth, boxes).tolist() == expected


@pytest.mark.parametrize("least_best", [0.0, 2.0])
@pytest.mark.parametrize("entries", [1, 97, 400])
def test_chunks_change_nothing(monkeypatch, entries, least_best):
    matcher, (truth, boxes) = BestMatcher(0.5, 0.4, least_best), scene(0, 23, 90)
    whole = matcher(truth, boxes)
    monkeypatch.setattr(assign, "_MATRIX_ENTRIES", entries)
    assert torch.equal(matcher(truth, boxes), whole)


def test_an_object_that_nothing_overlaps_takes_nothing():
    truth, boxes = scene(0, 2, 30)
    assert (BestMatcher(0.5, 0.4, 0.0)(truth + 100, boxes) == -1).all()


def test_where_no_object_takes_its_best_it_is_torchvisions_matcher():
    truth, boxes = scene(1, 12, 300)
    expected = Matcher(0.7, 0.3)(box_iou(truth, boxes))
    assert torch.equal(BestMatcher(0.7, 0.3, least_best=2.0)(truth, boxes), expected)


def test_ten_thousand_objects_need_no_matrix_of_all_overlaps(monkeypatch):
    sizes = []

    def watched(a, b):
        sizes.append(len(a) * len(b))
        return box_iou(a, b)

    monkeypatch.setattr(assign, "box_iou", watched)
    monkeypatch.setattr(assign, "_MATRIX_ENTRIES", 2**20)
    truth, boxes = scene(2, 10_001, 500)
    assert BestMatcher(0.5, 0.5, 0.5)(truth, boxes).max() > 9000
    assert max(sizes) <= 2**20


def test_nothing_to_match():
    boxes = scene(3, 0, 5)[1]
    assert BestMatcher(0.5, 0.4, 0.0)(boxes[:0], boxes).tolist() == [-1] * 5
    assert BestMatcher(0.5, 0.4, 0.0)(boxes, boxes[:0]).tolist() == []
