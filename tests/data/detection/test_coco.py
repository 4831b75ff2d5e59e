import json
import math

import numpy as np
import pytest
from pycocotools.coco import COCO

from gpvit.data.detection.coco import read_annotations
from gpvit.data.detection.segmentations import rasterise
from gpvit.errors import UserError


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


def repeat(key, **values):
    return lambda document: document[key].append(dict(document[key][0], **values))


def set_image(**values):
    return lambda document: document["images"][0].update(values)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (repeat("images", width=5), r"image ids \[1000\] are given more than once"),
        (lambda document: document["categories"][0].update(id=7), r"category ids \[7\] are given more than once"),
        (
            lambda document: document.pop("categories"),
            r"lists images, categories, annotations; found {'images': 'list', 'ann",
        ),
        (lambda document: document.update(annotations={"1": 2}), r"'annotations': 'dict'"),
        (lambda document: document.update(annotations=None), r"'annotations': 'NoneType'"),
        (lambda document: document["images"][0].pop("height"), r"images\[0\] \(id 1000\): height is None; it takes a"),
        (set_image(width=0), r"width is 0; it takes a whole number of pixels from 1"),
        (set_image(width="90px"), r"width is '90px'"),
        (set_image(width="6,5"), r"width is '6,5'"),
        (set_image(height=60.5), r"height is 60\.5"),
        (set_image(height=1e400), r"height is inf"),
        (set_image(file_name=5), r"file_name is 5; it takes a text"),
        (set_image(id=[3]), r"id is \[3\]; it takes a text or a whole number"),
        (lambda document: document["images"].append(None), r"images\[5\]: None stands for an object with id"),
        (lambda document: document["categories"][1].update(id=7.5), r"categories\[1\] \(id 7.5\): id is 7.5; it takes"),
        (lambda document: document["categories"].append("cat"), r"categories\[3\]: 'cat' stands for an object"),
        (lambda document: document.update(categories=[]), r"0 category names"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(change, function, message):
    path = change(function)
    for drop_invalid in (False, True):
        with pytest.raises(UserError, match=r"(?s)val\.json: .*" + message):
            read_annotations(path, drop_invalid=drop_invalid)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"category_id": 13}, r"category_id 13 is the id of none in the file"),
        ({"category_id": [7]}, r"category_id is \[7\]; it takes a text or a whole number"),
        ({"category_id": True}, r"category_id is True"),
        ({"image_id": 4}, r"image_id 4 is the id of none in the file"),
        ({"image_id": None}, r"image_id is None"),
        ({"image_id": [1000]}, r"image_id is \[1000\]"),
        ({"bbox": [3, 3, -5, 8]}, r"bbox \[3, 3, -5, 8\] \(x, y, width, height\) has no area"),
        ({"bbox": [3, 3, 5, 0]}, r"has no area"),
        (
            {"bbox": [3, math.nan, 5, 5]},
            r"bbox is \[3, nan, 5, 5\]; it takes x, y, width and height, four finite numbers",
        ),
        ({"bbox": [3, 3, math.inf, 5]}, r"four finite numbers"),
        ({"bbox": [3, 3, 5]}, r"four finite numbers"),
        ({"bbox": [True, 3, 5, 5]}, r"bbox is \[True, 3, 5, 5\]"),
        ({"bbox": ["3,5", 3, 5, 5]}, r"bbox is \['3,5', 3, 5, 5\]"),
        ({"bbox": [0.1, 0.2, 0.5, 0.5]}, r"bbox \[0.1, 0.2, 0.5, 0.5\] looks like parts of its image"),
        ({"bbox": [3, 3, 10**400, 5]}, r"four finite numbers"),
        ({"bbox": None}, r"bbox is None"),
        ({"bbox": [500, 3, 5, 5]}, r"outside its image of \d+x\d+"),
        ({"bbox": [-20, 3, 5, 5]}, r"outside its image"),
        ({"area": "abc"}, r"area is 'abc'; it takes a finite number"),
        ({"area": math.nan}, r"area is nan"),
        ({"area": -1}, r"area is -1; it takes a finite number from 0"),
        ({"iscrowd": "crowd"}, r"iscrowd is 'crowd'; it takes 0 or 1"),
        ({"iscrowd": []}, r"iscrowd is \[\]"),
        ({"ignore": 3}, r"ignore is 3; it takes 0 or 1"),
        ({"iscrowd": 2}, r"iscrowd is 2"),
        (
            {"segmentation": {"size": [3, 4], "counts": [12]}},
            r"segmentation has the size \[3, 4\] \(height, width\) on an",
        ),
        ({"segmentation": {"size": 5, "counts": "a"}}, r"segmentation has the size 5"),
        ({"segmentation": {"size": [63, 122]}}, r"segmentation is {'size'"),
        ({"segmentation": []}, r"segmentation is \[\]; it takes a list of polygons"),
        ({"segmentation": None}, r"segmentation is None"),
        ({"segmentation": [[1, 2, 3, 4]]}, r"segmentation has the polygon \[1, 2, 3, 4\]; it takes a list"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, r"the polygon \[1, 2, 3, 4, 5, 6, "),
        ({"segmentation": [[1, 2, 3, 4, 5, math.nan]]}, r"a coordinate that is no finite number"),
        ({"segmentation": [[1, 2, 3, 4, 5, "6,0"]]}, r"a coordinate that is no finite number"),
        ({"segmentation": [[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]]}, r"parts of its image"),
        ({"segmentation": [[500, 1, 520, 1, 520, 20]]}, r"segmentation .* lies outside its image"),
        ({"segmentation": [[0, 0, 1e7, 0, 1e7, 1e7]]}, r"reaches far beyond its image"),
        ({"segmentation": [[9, 9, 9, 9], [9, 9, 12, 12, 15, 15]]}, r"it takes .*, with an area"),
        ({"segmentation": [[9.1, 9.1, 9.3, 9.1, 9.3, 9.3]]}, r"shows no pixel"),
        ({"segmentation": "polygon"}, r"segmentation is 'polygon'"),
    ],
)
def test_annotations_that_cannot_be_used_are_listed_or_left_out(change, values, message):
    path = change(set_first(**values))
    with pytest.raises(UserError, match=r"(?s)val.json: 1 annotations .*\n  annotations\[0\] \(id 1\): ") as raised:
        read_annotations(path)
    assert raised.match(message)
    assert raised.match("drop_invalid: true")
    assert ("masks: false" in str(raised.value)) == ("segmentation" in values)
    with pytest.warns(UserWarning, match="left out"):
        annotations = read_annotations(path, drop_invalid=True)
    assert len(annotations.labels) == len(json.loads(path.read_text())["annotations"]) - 1
    if "segmentation" in values:
        assert len(read_annotations(path, masks=False).labels) == len(annotations.labels) + 1


@pytest.mark.parametrize("entry", [None, "text", 7, [1]])
def test_an_annotation_that_is_no_object(change, entry):
    path = change(lambda document: document["annotations"].append(entry))
    with pytest.raises(
        UserError, match=r"annotations\[\d+\]: .* stands for an object with image_id, category_id, bbox"
    ):
        read_annotations(path)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([5, 6], r"counts \[5, 6\]; their sum must be \d+ pixels"),
        ([-5, 10**9], r".*their sum must be"),
        (["a", 1], r"counts \['a', 1\]"),
        ([1e9], r"counts \[1000000000.0\]"),
        (None, r"counts None, no compressed run lengths"),
        (7, r"counts 7, no compressed run lengths"),
        ("garbage!!!", r"counts 'garbage!!!', no compressed run lengths: .*RLE"),
        ("b'PZ6X1d2O2N'", r".*no compressed run lengths"),
        ("PPPPPPPPPPPPPP0", r".*no compressed run lengths"),
    ],
)
def test_damaged_run_lengths(change, counts, message):
    path = change(lambda document: document["annotations"][0]["segmentation"].update(counts=counts))
    with pytest.raises(UserError, match=r"(?s)annotations\[0\].*segmentation has " + message):
        read_annotations(path)


def test_what_tools_write_is_read(coco_root, change):
    expected = read_annotations(coco_root / "annotations" / "val.json")

    def as_pandas(document):
        for image in document["images"]:
            image |= {name: float(image[name]) for name in ("id", "height", "width")}
        for entry in document["annotations"]:
            entry |= {"image_id": float(entry["image_id"]), "category_id": float(entry["category_id"])}
            entry |= {"iscrowd": bool(entry["iscrowd"])}
            if isinstance(entry["segmentation"], dict):
                entry["segmentation"]["size"] = [float(side) for side in entry["segmentation"]["size"]]

    annotations = read_annotations(change(as_pandas))
    assert annotations.images == expected.images
    assert {type(image.id) for image in annotations.images} == {int}
    for one, other in zip(annotations, expected, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one[:4], other[:4], strict=True))

    def as_text(document):
        for image in document["images"]:
            image["id"] = f"0000001_{image['id']:.0f}_d"
        for entry in document["annotations"]:
            entry["image_id"] = f"0000001_{entry['image_id']:.0f}_d"
            entry |= {"area": None, "iscrowd": None}

    with pytest.warns(UserWarning, match="image ids are texts; results number the images by their places"):
        annotations = read_annotations(change(as_text))
    assert [image.id for image in annotations.images] == [0, 1, 2, 3, 4]
    assert np.array_equal(annotations.labels, expected.labels)
    assert np.isnan(annotations.areas).all()
    assert not annotations.crowds.any()


def test_an_unused_category_of_the_name_of_another_is_left_out(change):
    path = change(lambda document: document["categories"].append({"id": 0, "name": "disc", "supercategory": "none"}))
    with pytest.warns(UserWarning, match=r"categories that have no annotation.*\(1, first 'disc'\)"):
        assert read_annotations(path).categories.ids == (7, 12, 44)
    path = change(lambda document: document["annotations"][0].update(category_id=0))
    with pytest.raises(UserError, match=r"val.json: category names \['disc'\] are given more than once"):
        read_annotations(path)


def test_boxes_alone_are_refused_with_the_remedy_and_never_all_dropped(change):
    path = change(lambda document: [entry.update(segmentation=[]) for entry in document["annotations"]])
    for drop_invalid in (False, True):
        with pytest.raises(UserError, match=r"on boxes alone, set masks: false \(--data\.masks false\)"):
            read_annotations(path, drop_invalid=drop_invalid)
    assert len(read_annotations(path, masks=False).labels) > 1


def test_a_long_list_is_cut(change):
    def break_all(document):
        entry = document["annotations"][0]
        document["annotations"] = [{**entry, "id": number, "bbox": [0, 0, 0, 0]} for number in range(31)]

    with pytest.raises(ValueError, match=r"(?s)31 annotations.*annotations\[9\](?!.*annotations\[10\]).*and 21 more"):
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
    with pytest.raises(ValueError, match=r"an object with the lists images, categories, annotations; found none"):
        read_annotations(path)


def test_many_boxes_in_one_image(change):
    def crowded(document):
        entry = document["annotations"][0]
        document["annotations"] = [{**entry, "id": number} for number in range(12_000)]

    annotations = read_annotations(change(crowded))
    assert len(annotations[1].labels) == 12_000
    assert np.unique(annotations[1].boxes, axis=0).shape == (1, 4)
