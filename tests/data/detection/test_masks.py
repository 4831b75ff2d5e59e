import numpy as np
import pycocotools.mask as reference
import pytest
import torch

from gpvit.data.detection.coco import rasterise
from gpvit.data.detection.results import run_lengths
from gpvit.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools


def test_there_and_back():
    random = np.random.default_rng(0)
    for _ in range(20):
        masks = random.random((5, *random.integers(1, 40, 2))) < random.random()
        packed = run_lengths(torch.from_numpy(masks))
        expected = [reference.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
        assert packed == [{**each, "counts": each["counts"].decode()} for each in expected]
        assert (rasterise(packed, *masks.shape[1:]) == masks).all()


def test_polygons_of_one_object_are_united():
    random = np.random.default_rng(1)
    for _ in range(20):
        polygons = [random.uniform(-5, 60, 2 * random.integers(3, 8)).tolist() for _ in range(3)]
        expected = reference.decode(reference.merge(reference.frPyObjects(polygons, 50, 40)))
        assert (rasterise([polygons], 50, 40)[0] == expected).all()


def test_damaged_run_lengths():
    (good,) = run_lengths(torch.ones(1, 3, 4))
    for counts in ("zzz", 4 * good["counts"], "", "0n0"):
        with pytest.raises(UserError, match=r"object 1: segmentation \{'counts': .*(?i:rle)"):
            rasterise([good, {"size": [3, 4], "counts": counts}], 3, 4)


def test_more_masks_than_memory():
    square = [[0, 0, 9, 0, 9, 9]]
    with pytest.raises(ValueError, match=r"20000 masks of 640x480 pixels would take 6 GB of memory.*masks: false"):
        rasterise([square] * 20_000, 480, 640)


def test_no_object():
    assert rasterise([], 5, 6).shape == (0, 5, 6)
