import json
import math

import numpy as np
import pytest
from pycocotools.coco import COCO

from gpvit.data.detection.annotations import read_annotations
from gpvit.data.detection.masks import rasterise


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_as_pycocotools_reads_it(coco_root):
    path = coco_root / "annotations" / "train.json"
    annotations, reference = read_annotations(path), COCO(path)
    assert annotations.categories.names == ("square", "bar", "disc")
    assert annotations.categories.ids == (7, 12, 44)
    assert {image.id for image in annotations.images} == set(reference.imgs)
    total = 0
    for index, image in enumerate(annotations.images):
        objects = annotations[index]
        expected = reference.loadAnns(reference.getAnnIds(image.id))
        assert len(expected) == len(objects.labels) == len(objects.segmentations)
        masks = rasterise(objects.segmentations, image.height, image.width)
        for place, entry in enumerate(expected):
            left, top, width, height = entry["bbox"]
            assert objects.boxes[place].tolist() == [left, top, left + width, top + height]
            assert annotations.categories.category_id(objects.labels[place]) == entry["category_id"]
            assert objects.areas[place] == entry["area"] == masks[place].sum()
            assert objects.crowds[place] == entry["iscrowd"]
            assert (masks[place] == reference.annToMask(entry)).all()
        total += len(expected)
    assert len(annotations.labels) == len(annotations.image_indices) == total > 10
    assert annotations.crowds.sum() == 1
    forms = {type(json.loads(path.read_text())["annotations"][i]["segmentation"]) for i in range(total)}
    assert forms == {list, dict}


def test_empty_images_stay_or_go(coco_root, change):
    def only_a_crowd(document):
        document["annotations"] = [entry for entry in document["annotations"] if entry["image_id"] != 997]
        document["annotations"].append(
            {
                "id": 99,
                "image_id": 997,
                "category_id": 7,
                "bbox": [1, 1, 9, 9],
                "iscrowd": 1,
                "segmentation": [[1, 1, 10, 1, 9, 9]],
            }
        )

    annotations = read_annotations(change(only_a_crowd))
    assert len(annotations) == 5
    assert len(annotations[0].labels) == 0
    assert annotations[0].boxes.shape == (0, 4)
    assert math.isnan(annotations[1].areas[0])
    kept = annotations.without_empty()
    assert [image.id for image in kept.images] == [994, 991, 988]
    for mine, other in zip(kept, list(annotations)[2:], strict=True):
        assert (mine.boxes == other.boxes).all()
        assert mine.segmentations == other.segmentations


def test_images_are_counted_from_0(coco_root):
    annotations = read_annotations(coco_root / "annotations" / "val.json")
    for index in (-1, 5):
        with pytest.raises(IndexError, match=f"image {index} of 5"):
            annotations[index]


def set_first(**values):
    return lambda document: document["annotations"][0].update(values)


def repeat(key):
    return lambda document: document[key].append(dict(document[key][0]))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            set_first(category_id=13),
            r"val.json: 1 annotations.*\n  annotation 1 is of category id 13, which 'categories' lacks\nAdd",
        ),
        (set_first(image_id=4), r"annotation 1 is of image id 4, which 'images' lacks"),
        (lambda document: document["annotations"][0].pop("image_id"), r"annotation 1 is of image id None"),
        (repeat("images"), r"image ids \[1000\] are given more than once"),
        (repeat("categories"), r"val.json: category names \['disc'\] are given more than once"),
        (lambda document: document.pop("categories"), r"val.json lacks \['categories'\]"),
        (
            lambda document: document["images"][0].pop("height"),
            r"every image 'id', 'file_name', 'height' and 'width' .*height",
        ),
        (lambda document: document["images"][0].update(width=0), r"height and width 1 or more"),
        (lambda document: document.update(categories=[]), r"val.json: 0 category names"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(change, function, message):
    path = change(function)
    for drop_invalid in (False, True):
        with pytest.raises(ValueError, match=message):
            read_annotations(path, drop_invalid=drop_invalid)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bbox": [3, 3, -5, 8]}, r"the box \[3, 3, -5, 8\] \(x, y, width, height\) without an area"),
        ({"bbox": [3, 3, 5, 0]}, r"without an area"),
        ({"bbox": [3, math.nan, 5, 5]}, r"the box \[3, nan, 5, 5\], where .* four finite numbers"),
        ({"bbox": [3, 3, math.inf, 5]}, r"four finite numbers"),
        ({"bbox": [3, 3, 5]}, r"four finite numbers"),
        ({"bbox": None}, r"four finite numbers"),
        ({"bbox": [500, 3, 5, 5]}, r"outside its image of \d+x\d+"),
        ({"bbox": [-20, 3, 5, 5]}, r"outside its image"),
        (
            {"segmentation": {"size": [3, 4], "counts": [12]}},
            r"a mask of size \[3, 4\] \(height, width\) on an image of \[",
        ),
        ({"segmentation": []}, r"has no segmentation"),
        ({"segmentation": None}, r"has no segmentation"),
        ({"segmentation": [[1, 2, 3, 4]]}, r"a polygon that is not x, y of three or more points"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, r"a polygon that is not x, y"),
        ({"segmentation": [[1, 2, 3, 4, 5, math.nan]]}, r"a coordinate that is no number"),
        ({"segmentation": "polygon"}, r"neither a list of polygons nor run lengths"),
    ],
)
def test_annotations_that_cannot_be_used_are_listed_or_left_out(change, values, message):
    path = change(set_first(**values))
    with pytest.raises(ValueError, match=r"(?s)val.json: 1 annotations .*annotation 1 of deeper/1.png has ") as raised:
        read_annotations(path)
    assert raised.match(message)
    assert raised.match("drop_invalid=True")
    with pytest.warns(UserWarning, match="left out"):
        annotations = read_annotations(path, drop_invalid=True)
    assert len(annotations.dropped) == 1
    assert len(annotations.labels) == len(json.loads(path.read_text())["annotations"]) - 1
    if "segmentation" in values:
        assert len(read_annotations(path, masks=False).labels) == len(annotations.labels) + 1


def test_run_lengths_of_another_number_of_pixels(change):
    path = change(lambda document: document["annotations"][0]["segmentation"].update(counts=[5, 6]))
    with pytest.raises(ValueError, match=r"run lengths for 11 pixels on an image of \d+"):
        read_annotations(path)


def test_a_long_list_is_cut(change):
    def break_all(document):
        entry = document["annotations"][0]
        document["annotations"] = [{**entry, "id": number, "bbox": [0, 0, 0, 0]} for number in range(31)]

    with pytest.raises(ValueError, match=r"(?s)31 annotations.*annotation 9 of(?!.*annotation 10 of).*and 21 more"):
        read_annotations(change(break_all))


def test_boxes_over_the_border_are_legal(change):
    annotations = read_annotations(change(set_first(bbox=[-5, -3.5, 300, 200])))
    assert annotations.boxes[0].tolist() == [-5, -3.5, 295, 196.5]


def test_files_that_are_none(coco_root):
    with pytest.raises(FileNotFoundError, match=r"none.json: no such annotation file"):
        read_annotations(coco_root / "none.json")
    path = coco_root / "annotations" / "val.json"
    path.write_text(path.read_text()[:-40])
    with pytest.raises(ValueError, match=r"val.json is not JSON, or is cut short"):
        read_annotations(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"lacks \['images', 'categories', 'annotations'\]"):
        read_annotations(path)


def test_many_boxes_in_one_image(change):
    def crowded(document):
        entry = document["annotations"][0]
        document["annotations"] = [{**entry, "id": number} for number in range(12_000)]

    annotations = read_annotations(change(crowded))
    assert len(annotations[1].labels) == 12_000
    assert np.unique(annotations[1].boxes, axis=0).shape == (1, 4)
