import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from faster_coco_eval import mask as codec
from PIL import Image

from gpvit.data import load_photograph
from gpvit.data.detection import Categories
from gpvit.inference.results.detection import DetectedObject, DetectionResult, labels_named, split_names
from gpvit.models.detection.masks import paste_masks

CATEGORIES = Categories(("ant", "bee", "cat"), (7, 70, 3))
COLORS = ((255, 0, 0), (0, 160, 0), (0, 0, 255))


def result_of(boxes, labels, scores, size=(50, 80), masks=True, source=None) -> DetectionResult:
    generator = torch.Generator().manual_seed(len(boxes))
    return DetectionResult(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(scores, dtype=torch.float32),
        CATEGORIES,
        COLORS,
        size,
        Image.new("RGB", size[::-1], "white") if source is None else source,
        torch.rand((len(boxes), 1, 28, 28), generator=generator) if masks else None,
    )


def random_result(rng, count: int, masks=True) -> DetectionResult:
    height, width = (int(side) for side in rng.integers(1, 90, 2))
    corners = rng.uniform(0, 1, (count, 2, 2)) * [width, height]
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1)
    scores = np.sort(rng.uniform(0, 1, count))[::-1].copy()
    return result_of(boxes, rng.integers(1, 4, count), scores, (height, width), masks)


@pytest.mark.parametrize("masks", [True, False])
def test_filtering_keeps_what_was_asked_for(masks):
    rng = np.random.default_rng(0)
    for count in (0, 1, 2, 20, 100):
        result = random_result(rng, count, masks)
        score, classes = rng.uniform(0, 1), ["cat", "ant"]
        kept = result.filtered(score, classes)
        expected = [o for o in result.objects if o.score >= score and o.class_name in classes]
        assert kept.objects == expected
        assert (kept.size, kept.source) == (result.size, result.source)
        if masks:
            chosen = [i for i, o in enumerate(result.objects) if o in expected]
            assert torch.equal(kept.masks, result.masks[chosen])
        else:
            assert kept.masks is result.masks is None
        assert result.filtered().objects == result.objects
        assert result.filtered(classes=[]).objects == []
        assert result.filtered(classes="bee").objects == [o for o in result.objects if o.class_name == "bee"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["ant", "catt"]}, "class 'catt' is none of the model's 3; did you mean 'cat'"),
        ({"classes": ["zebra"]}, "there are ant, bee, cat"),
        ({"score": 1.5}, "score 1.5: give the minimum score to keep, from 0 to 1"),
        ({"score": float("nan")}, "score nan"),
    ],
)
def test_unknown_classes_and_scores_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        result_of([], [], []).filtered(**options)


def test_labels_begin_with_one():
    assert labels_named(["cat", "ant"], CATEGORIES.names) == [3, 1]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cat", ["cat"]),
        ("chair, folding", ["chair, folding"]),
        ("cat, chair, folding ,chair", ["cat", "chair, folding", "chair"]),
        ("chair,folding", ["chair", "folding"]),
        ("a,b,c,cat", ["a,b,c", "cat"]),
        ("nothing,cat", ["nothing", "cat"]),
    ],
)
def test_names_with_commas_are_found_among_others(text, names):
    assert split_names(text, ["cat", "chair", "chair, folding", "a,b,c", "a"]) == names


@pytest.mark.parametrize("masks", [True, False])
def test_supervision_takes_the_objects(masks, monkeypatch):
    result = result_of([[1, 2, 3, 4.5], [0, 0, 80, 50]], [3, 1], [0.875, 0.5], masks=masks)
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    given = result.to_supervision()
    assert given.xyxy.tolist() == [[1, 2, 3, 4.5], [0, 0, 80, 50]]
    assert given.class_id.tolist() == [2, 0]
    assert given.data["class_name"].tolist() == ["cat", "ant"]
    assert given.confidence.tolist() == [0.875, 0.5]
    assert (given.mask is not None) == masks
    assert not masks or np.array_equal(given.mask, result.masks.numpy())
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ValueError, match="pip install supervision"):
        result.to_supervision()


@pytest.mark.parametrize("count", [0, 3])
def test_supervision_itself(count):
    supervision = pytest.importorskip("supervision")
    result = random_result(np.random.default_rng(0), count)
    detections = result.to_supervision()
    assert len(detections) == count
    image = np.zeros((*result.size, 3), np.uint8)
    for annotator in (supervision.BoxAnnotator(), supervision.MaskAnnotator()):
        assert annotator.annotate(image.copy(), detections).shape == image.shape


def test_masks_are_pasted_within_the_boxes():
    result = result_of([[10, 5, 40, 45], [-3, 20, 90, 30]], [1, 2], [0.9, 0.8])
    assert result.masks.dtype == torch.bool
    assert torch.equal(result.masks, paste_masks(result.mask_probabilities, result.boxes, (50, 80), binary=True)[:, 0])
    assert result.masks[0, 5:45, 10:40].any()
    assert not result.masks[0, :, 42:].any()


def test_counts_are_those_of_the_objects():
    rng = np.random.default_rng(1)
    for count in (0, 1, 5, 60):
        result = random_result(rng, count)
        counts = result.counts()
        assert sum(each.num_objects for each in counts) == count
        assert [each.best_score for each in counts] == sorted((each.best_score for each in counts), reverse=True)
        for name, label, number, best in counts:
            scores = [o.score for o in result.objects if o.label == label]
            assert (len(scores), max(scores), CATEGORIES.names[label - 1]) == (number, best, name)


def test_result_says_what_it_is():
    boxes = [[1, 2, 3, 4.5], [0, 0, 80, 50], [5, 5, 6, 6], [5, 5, 6, 7]]
    result = result_of(boxes, [3, 1, 3, 2], [0.875, 0.5, 0.25, 0.125], source="photos/a.jpg")
    assert repr(result) == "DetectionResult(photos/a.jpg, 80 x 50: cat 0.88, ant 0.50, cat 0.25, 1 more)"
    assert repr(result.filtered(1.0)) == "DetectionResult(photos/a.jpg, 80 x 50: nothing)"
    assert result.objects[0] == DetectedObject("cat", 3, 0.875, (1, 2, 3, 4.5))
    facts = json.loads(json.dumps(result.to_dict()))
    assert (facts["source"], facts["width"], facts["height"], len(facts["objects"])) == ("photos/a.jpg", 80, 50, 4)
    assert facts["objects"][0] == {"class_name": "cat", "label": 3, "score": 0.875, "box": [1, 2, 3, 4.5]}


@pytest.mark.parametrize("masks", [True, False])
def test_coco_results_have_the_ids_of_the_categories_and_the_masks(masks):
    rng = np.random.default_rng(2)
    for count in (0, 1, 30):
        result = random_result(rng, count, masks)
        rows = json.loads(json.dumps(result.to_coco(139)))
        assert len(rows) == count
        for number, (row, each) in enumerate(zip(rows, result.objects, strict=True)):
            left, top, right, bottom = each.box
            assert (row["image_id"], row["score"]) == (139, each.score)
            assert row["category_id"] == {"ant": 7, "bee": 70, "cat": 3}[each.class_name]
            assert row["bbox"] == pytest.approx([left, top, right - left, bottom - top])
            assert ("segmentation" in row) == masks
            if masks:
                assert np.array_equal(codec.decode(row["segmentation"]), result.masks[number].numpy())


def test_drawing_keeps_the_image_and_shows_boxes_masks_and_labels():
    image = load_photograph("china")
    size = (image.height, image.width)
    result = result_of([[100, 100, 200, 220], [300, 50, 400, 90]], [1, 3], [0.9, 0.6], size, source=image)
    drawn, plain = np.asarray(result.draw()), np.asarray(image)
    assert drawn.shape == plain.shape
    assert tuple(drawn[219, 150]) == COLORS[0]
    assert tuple(drawn[89, 350]) == COLORS[2]
    assert (drawn[95, 101] == COLORS[0]).all(), "the label's corner"
    changed = (drawn != plain).any(-1)
    mask = result.masks[0].numpy()
    assert changed[mask].mean() > 0.99
    assert not changed[230:].any()
    assert not changed[:, :95].any()


def test_small_images_are_enlarged_unless_told_otherwise():
    rng = np.random.default_rng(0)
    result = result_of([[20, 20, 60, 45]], [2], [0.7], (50, 80), source=rng.integers(0, 256, (50, 80, 3), np.uint8))
    assert result.draw().size == (640, 400)
    assert result.draw(scale=3).size == (240, 150)
    drawn, masked = np.asarray(result.draw(scale=8)).astype(int), result.masks[0].numpy()
    assert tuple(drawn[359, 200]) == COLORS[1]
    assert drawn.shape == (400, 640, 3)
    assert not masked[:19].any()
    assert np.asarray(result.draw(scale=1)).shape == (50, 80, 3)
    with pytest.raises(ValueError, match="scale is 0"):
        result.draw(scale=0)


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1)])
def test_strips_are_drawn(size):
    result = result_of([[0, 0, size[1], size[0]]] * 2, [1, 2], [0.9, 0.8], size)
    assert result.masks.shape == (2, *size)
    width, height = result.draw(scale=1).size
    assert (height, width) == size


def test_saving_is_whole_or_not_at_all(tmp_path):
    result = result_of([[1, 1, 5, 5]], [1], [0.5])
    path = tmp_path / "new" / "street.png"
    result.save(path)
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(image), np.asarray(result.draw()))
    with pytest.raises(ValueError, match="xyz"):
        result.save(path.with_suffix(".xyz"))
    assert list(path.parent.iterdir()) == [path]
