import json

import numpy as np
import pycocotools.mask as reference
import pytest
import torch
from pycocotools.coco import COCO

from gpvit.data.detection.categories import Categories
from gpvit.data.detection.results import coco_results, run_lengths, write_coco_results
from gpvit.data.detection.segmentations import rasterise
from gpvit.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools

CATEGORIES = Categories(("cat", "dog"), (17, 90))


def detection(count=3):
    torch.manual_seed(0)
    corner = torch.rand(count, 2) * 20
    masks = torch.rand(count, 1, 40, 50)
    return {
        "boxes": torch.cat([corner, corner + 5 + torch.rand(count, 2) * 10], dim=1),
        "labels": torch.arange(count) % 2 + 1,
        "scores": torch.rand(count),
        "masks": masks,
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pycocotools_reads_them(tmp_path):
    found = detection()
    write_coco_results(coco_results(found, 42, CATEGORIES), tmp_path / "new" / "results.json")
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": 42, "height": 40, "width": 50}],
        "categories": [{"id": 17, "name": "cat"}, {"id": 90, "name": "dog"}],
        "annotations": [],
    }
    truth.createIndex()
    loaded = truth.loadRes(str(tmp_path / "new" / "results.json"))
    assert [entry["category_id"] for entry in loaded.anns.values()] == [17, 90, 17]
    for index, entry in enumerate(loaded.anns.values()):
        left, top, width, height = entry["bbox"]
        torch.testing.assert_close(torch.tensor([left, top, left + width, top + height]), found["boxes"][index])
        assert entry["score"] == pytest.approx(found["scores"][index].item())
        assert (reference.decode(entry["segmentation"]) == (found["masks"][index, 0] >= 0.5).numpy()).all()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["results.json"]


def test_boxes_alone_and_nothing_at_all():
    found = detection()
    del found["masks"]
    assert set(coco_results(found, 1, CATEGORIES)[0]) == {"image_id", "category_id", "bbox", "score"}
    assert coco_results(detection(0), 1, CATEGORIES) == []


def test_bfloat16_and_gradients():
    found = detection()
    found |= {"scores": found["scores"].bfloat16().requires_grad_(), "boxes": found["boxes"].requires_grad_()}
    assert json.loads(json.dumps(coco_results(found, 1, CATEGORIES)))[0]["score"] == found["scores"][0].item()


def test_labels_without_a_category():
    with pytest.raises(ValueError, match="label 3 stands for no category"):
        coco_results({**detection(), "labels": torch.tensor([1, 2, 3])}, 1, CATEGORIES)


def test_masks_of_bytes_and_bools_are_those_of_probabilities():
    found = detection()
    inside = found["masks"] >= 0.5
    forms = [found["masks"], found["masks"][:, 0].double(), inside, inside[:, 0].byte()]
    texts = [json.dumps(coco_results({**found, "masks": form}, 1, CATEGORIES)) for form in forms]
    assert len(set(texts)) == 1


def test_run_lengths_there_and_back():
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


def test_no_mask():
    assert rasterise([], 5, 6).shape == (0, 5, 6)
