import json

import numpy as np
import pytest
from PIL import Image

from gpvit.data import load_photograph
from gpvit.inference.results import segmentation
from gpvit.inference.results.segmentation import SegmentationResult
from gpvit.runtime.results import ClassArea


def result_of(labels, num_classes: int, source=None) -> SegmentationResult:
    rng = np.random.default_rng(num_classes)
    colors = tuple((int(r), int(g), int(b)) for r, g, b in rng.integers(0, 256, (num_classes, 3)))
    names = tuple(f"name {index}" for index in range(num_classes))
    source = Image.new("RGB", labels.shape[::-1], "white") if source is None else source
    return SegmentationResult(labels, names, colors, source)


def random_labels(rng, num_classes: int) -> np.ndarray:
    size = rng.integers(1, 40, 2)
    few = rng.choice(num_classes, min(num_classes, int(rng.integers(1, 30))), replace=False)
    return rng.choice(few, size).astype(np.uint8 if num_classes <= 255 else np.int32)


def test_areas_are_those_of_a_count():
    rng = np.random.default_rng(0)
    for num_classes in (1, 2, 11, 150, 255, 256, 700):
        for _ in range(10):
            labels = random_labels(rng, num_classes)
            areas = result_of(labels, num_classes).areas()
            assert {area.class_index for area in areas} == set(labels.ravel().tolist())
            assert [area.pixels for area in areas] == sorted((area.pixels for area in areas), reverse=True)
            assert sum(area.share for area in areas) == pytest.approx(1)
            for name, index, pixels, share in areas:
                assert name == f"name {index}"
                assert pixels == (labels == index).sum()
                assert share == pixels / labels.size


@pytest.mark.parametrize("num_classes", [1, 2, 150, 255, 256, 257, 1000])
def test_labels_are_read_back_exactly_and_in_their_colours(num_classes, tmp_path):
    rng = np.random.default_rng(num_classes)
    for case in range(5):
        labels = random_labels(rng, num_classes)
        result = result_of(labels, num_classes)
        path = tmp_path / "folder" / f"{case}.PNG"
        result.save_labels(path)
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), labels)
            if num_classes <= 256:
                assert image.mode == "P"
                assert np.array_equal(np.asarray(image.convert("RGB")), np.array(result.colors)[labels])
            else:
                assert image.mode.startswith("I;16")
    assert len(list(path.parent.iterdir())) == 5


def test_labels_go_into_png_only(tmp_path):
    result = result_of(np.zeros((4, 4), np.uint8), 2)
    for name in ("labels.jpg", "labels", "labels.png.gif"):
        with pytest.raises(ValueError, match=name):
            result.save_labels(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.55, 1.0])
def test_overlay_mixes_gray_image_and_colours_at_full_size(alpha):
    image = load_photograph("china")
    labels = np.random.default_rng(0).integers(0, 300, (image.height, image.width))
    result = result_of(labels.astype(np.int32), 300, image)
    gray, colors = np.asarray(image.convert("L"), float)[..., None], np.array(result.colors)[labels]
    expected = (1 - alpha) * gray + alpha * colors
    assert np.abs(np.asarray(result.overlay(alpha), float) - expected).max() <= 1


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_a_share_out_of_range_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha"):
        result_of(np.zeros((4, 4), np.uint8), 2).overlay(alpha)


def test_result_says_what_it_is():
    labels = np.array([[0, 2, 2, 2], [2, 2, 2, 3]], np.uint8)
    result = SegmentationResult(labels, ("ant", "bee", "cat", "dog"), ((0, 0, 0),) * 4, "photos/a.jpg")
    assert repr(result) == "SegmentationResult(photos/a.jpg, 4 x 2: cat 75.0%, ant 12.5%, dog 12.5%)"
    assert result.areas()[0] == ClassArea("cat", 2, 6, 0.75)
    facts = json.loads(json.dumps(result.to_dict()))
    assert (facts["source"], facts["width"], facts["height"]) == ("photos/a.jpg", 4, 2)
    assert facts["areas"][1] == {"class_name": "ant", "class_index": 0, "pixels": 1, "share": 0.125}


@pytest.mark.parametrize("num_present", [1, 20, 24, 25, 150])
def test_the_legend_names_every_class_or_sums_up_the_smallest(num_present, monkeypatch):
    entries = []
    monkeypatch.setattr(segmentation, "with_legend", lambda image, given: entries.extend(given))
    labels = np.repeat(np.arange(num_present), np.arange(num_present) + 1).astype(np.uint8)[None]
    result = result_of(labels, 150)
    result.draw()
    areas = result.areas()
    named = len(areas) if num_present <= 24 else 23
    shares = [f"{area.share:.1%}" if area.share >= 0.001 else "<0.1%" for area in areas[:named]]
    assert [text for text, _ in entries[:named]] == [
        f"{share} {area.class_name}" for share, area in zip(shares, areas, strict=False)
    ]
    assert [color for _, color in entries[:named]] == [result.colors[area.class_index] for area in areas[:named]]
    rest = f"{sum(area.share for area in areas[named:]):.1%} {num_present - named} more classes"
    assert [text for text, _ in entries[named:]] == [rest] * (num_present > 24)


@pytest.mark.parametrize(("size", "num_present"), [((100, 150), 1), ((300, 600), 20), ((20, 3000), 60)])
def test_the_drawing_shows_the_overlay_above_its_legend(size, num_present, tmp_path):
    labels = np.resize(np.arange(num_present), size).astype(np.uint8)
    result = result_of(labels, 150)
    result.save(tmp_path / "street.png", alpha=1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["street.png"]
    with Image.open(tmp_path / "street.png") as drawing:
        pixels = np.asarray(drawing.convert("RGB"))
    height, width = (min(side, round(side * 1536 / max(size))) for side in size)
    assert pixels.shape[0] > height
    assert pixels.shape[1] >= width
    colors = {result.colors[label] for label in range(min(num_present, 23))}
    for part in (pixels[:height, :width], pixels[height:]):
        assert colors <= set(map(tuple, part.reshape(-1, 3).tolist()))
