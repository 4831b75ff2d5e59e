"""Matching against loops over every pair, on many random scenes with ties."""

import pytest
import torch
from models.detection import naive
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from gpvit.models.detection import matching
from gpvit.models.detection.matching import BestMatcher

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
    monkeypatch.setattr(matching, "_MATRIX_ENTRIES", entries)
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

    monkeypatch.setattr(matching, "box_iou", watched)
    monkeypatch.setattr(matching, "_MATRIX_ENTRIES", 2**20)
    truth, boxes = scene(2, 10_001, 500)
    assert BestMatcher(0.5, 0.5, 0.5)(truth, boxes).max() > 9000
    assert max(sizes) <= 2**20


def test_nothing_to_match():
    boxes = scene(3, 0, 5)[1]
    assert BestMatcher(0.5, 0.4, 0.0)(boxes[:0], boxes).tolist() == [-1] * 5
    assert BestMatcher(0.5, 0.4, 0.0)(boxes, boxes[:0]).tolist() == []
