"""Every field of COCO with every wrong type, value and absence: an answer, or a UserError that names file and entry."""

import gzip
import json
import unicodedata
import warnings

import pytest
from PIL import Image

from gpvit.data.detection.coco import read_annotations
from gpvit.data.detection.fields import FIELDS
from gpvit.data.detection.file_names import find_files
from gpvit.data.detection.segmentations import rasterise
from gpvit.errors import UserError

SQUARE = [5, 5, 25, 5, 25, 25, 5, 25]
ODD = [
    *(None, True, False, 0, 1, -1, 2, 1.0, 1.5, 1e400, -1e400, float("nan"), 10**30, 10**400, 2**53 + 1, 1e300),
    *("", "0", "1", "1.0", "1e3", " 7 ", "no", "abc", "1,5", "nan", "inf", "\ud800", "[5,5,20,20]", "[" * 5000),
    *(
        [],
        [1],
        [[]],
        [None],
        [[1, 2], [3, 4], [9, 1]],
        [SQUARE[:7]],
        SQUARE,
        [[*SQUARE], None],
        [[1e9, 0, 0, 1e9, 5, 5]],
    ),
    *({}, [{}], [{"x": 1}], [[[]]], {"size": None, "counts": [1]}, {"size": [48, 64], "counts": [1, [2]]}),
    *({"size": [48, 64], "counts": {}}, {"size": [64, 48], "counts": [3072]}),
    *({"all_points_x": [5], "all_points_y": []}, [5, 5, -3, 4], [0.1, 0.1, 0.5, 0.5], [5, 5, 1e300, 1e300], [True] * 4),
]


def document(**changes):
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 48, "width": 64} for i in (1, 2)]
    entry = {"bbox": [5, 5, 20, 20], "segmentation": [SQUARE], "area": 400, "iscrowd": 0}
    annotations = [{"id": i, "image_id": 1 + i % 2, "category_id": 1 + i % 2, **entry} for i in (1, 2, 3)]
    annotations[0] |= changes
    return {
        "images": images,
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": annotations,
    }


@pytest.fixture
def read(tmp_path):
    def write_and_read(content, **options):
        path = tmp_path / "val.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return read_annotations(path, **options)

    return write_and_read


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind, fields in FIELDS.items() for field in fields])
def test_an_answer_or_an_error_that_names_the_entry(kind, field, read):
    for value in [*ODD, "absent"]:
        for options in ({}, {"drop_invalid": True}, {"masks": False}):
            changed = document()
            changed[kind][0][field] = value
            if value == "absent":
                del changed[kind][0][field]
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    annotations = read(changed, **options)
            except UserError as error:
                message = str(error)
            else:
                message = ""
                for objects in annotations:
                    assert (objects.boxes[:, 2:] > objects.boxes[:, :2]).all()
                    if options.get("masks", True):
                        assert rasterise(objects.segmentations, 48, 64).any(axis=(1, 2)).all()
            assert not message or "val.json: " in message
            assert not message or any(each in message for each in (*FIELDS, "ids", "names"))


@pytest.mark.parametrize(
    ("changes", "crowd"),
    [
        *(({"iscrowd": value}, False) for value in ("0", "no", "false", "", False, 0.0, None, "0.0", " 0 ", "off")),
        *(({"iscrowd": value}, True) for value in ("1", "yes", "True", True, 1.0, "1.0")),
        ({"ignore": "true"}, True),
        ({"image_id": "2", "category_id": "2.0", "area": "4e2", "bbox": ["5", 5.0, " 20 ", "2e1"]}, False),
        ({"bbox": "[5, 5, 20, 20]", "segmentation": json.dumps([SQUARE])}, False),
    ],
)
@pytest.mark.filterwarnings("ignore:.*is read as it is meant")
def test_flags_and_numbers_mean_what_they_say(changes, crowd, read):
    objects = read(document(**changes))[1]
    assert objects.crowds.tolist() == [crowd, False]
    assert objects.labels.tolist() == [2, 2]
    assert objects.boxes[0].tolist() == [5, 5, 25, 25]
    assert objects.areas[0] == 400


POINTS = [[5, 5], [25, 5], [25, 25], [5, 25]]


@pytest.mark.parametrize(
    "form",
    [
        SQUARE,
        POINTS,
        [POINTS],
        [list(map(str, SQUARE))],
        [{"x": x, "y": y} for x, y in POINTS],
        [[{"x": x, "y": y} for x, y in POINTS]],
        {"all_points_x": [x for x, _ in POINTS], "all_points_y": [y for _, y in POINTS]},
        [SQUARE, [9, 9, 12, 12], [7, 7, 8, 8, 9, 9], []],
    ],
)
def test_polygons_in_any_form(form, read):
    expected = rasterise(read(document())[1].segmentations, 48, 64)
    with pytest.warns(UserWarning, match=r"is read as it is meant:\n  (segmentation in another form|parts of a seg)"):
        annotations = read(document(segmentation=form))
    assert (rasterise(annotations[1].segmentations, 48, 64) == expected).all()


def reordered(order):
    """Boxes of other meaning, of three objects in the right lower part of their images."""
    changed = document()
    for shift, entry in enumerate(changed["annotations"]):
        x, y, w, h = 30 + shift, 20, 25, 12
        entry |= {"bbox": order(x, y, w, h), "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]], "area": None}
    return changed


@pytest.mark.parametrize(
    ("order", "name"),
    [
        (lambda x, y, w, h: [x, y, x + w, y + h], "left, top, right, bottom"),
        (lambda x, y, w, h: [y, x, h, w], "y, x, height, width"),
        (lambda x, y, w, h: [y, x, y + h, x + w], "top, left, bottom, right"),
        (lambda x, y, w, h: [x + w / 2, y + h / 2, w, h], "centre, width and height"),
    ],
)
@pytest.mark.parametrize("masks", [True, False])
def test_boxes_in_another_order_are_refused(order, name, masks, read):
    assert len(read(reordered(lambda *box: [*box]), masks=masks).labels) == 3
    for drop_invalid in (False, True):
        with pytest.raises(UserError, match=f"(?s)as {name}"):
            read(reordered(order), masks=masks, drop_invalid=drop_invalid)


@pytest.mark.parametrize("name", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_any_encoding_of_json_and_gzip(name, read):
    for content in (json.dumps(document()).encode(name), gzip.compress(json.dumps(document()).encode(name))):
        assert len(read(content).labels) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"PK\x03\x04...", "a zip archive"),
        (b"\n<annotations>", "XML, as CVAT"),
        (b"[" * 100_000, "is not JSON"),
        (b"1" * 5000, "is not JSON"),
        (gzip.compress(b"{}" * 999, mtime=0)[:-9], "is not JSON"),
        (json.dumps(document()).encode()[:-9], "cut short"),
        ([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}], "results files"),
        ([{"image": "a.jpg", "annotations": []}], "CreateML"),
        ({"shapes": [], "imagePath": "a.jpg"}, "LabelMe"),
        ({"a.jpg123": {"filename": "a.jpg", "regions": []}}, "annotations of VIA"),
        ({"_via_img_metadata": {}}, "a project of VIA"),
        ({"items": [], "categories": {}}, "Datumaro"),
        ({"samples": []}, "FiftyOne"),
        ({"objects": [], "size": {}}, "Supervisely"),
        ([{"data": {}, "annotations": []}], "Label Studio"),
        ({"images": [], "categories": []}, "test set"),
    ],
)
def test_other_files_are_called_by_their_name(content, message, read):
    with pytest.raises(UserError, match=rf"val.json.*{message}"):
        read(content)


def test_roboflows_root_is_left_out_whatever_its_name(read):
    for name in ("a", "animals"):
        changed = document()
        changed["annotations"] = []
        changed["categories"] = [{"id": 0, "name": name, "supercategory": "none"}] + [
            {**each, "supercategory": name} for each in changed["categories"]
        ]
        with pytest.warns(UserWarning, match="left out"):
            assert read(changed).categories.names == ("a", "b")


def test_what_is_listed_twice_counts_once_or_is_said(read):
    for kind in ("images", "categories"):
        changed = document()
        changed[kind].append(changed[kind][0])
        with pytest.warns(UserWarning, match=f"{kind} listed twice, taken once"):
            assert len(read(changed).labels) == 3
    changed = document()
    changed["annotations"].append(changed["annotations"][0])
    with pytest.warns(UserWarning, match="annotations under one id, all kept"):
        assert len(read(changed).labels) == 4


@pytest.mark.parametrize("ids", [(2**53, 2**53 + 1), ("7", "8"), ("7.0", "8.0"), (7.0, 8.0)])
@pytest.mark.filterwarnings("ignore:.*is read as it is meant")
def test_ids_are_kept_exactly(ids, read):
    changed = document()
    for image, number in zip(changed["images"], ids, strict=True):
        image["id"] = number
    for entry in changed["annotations"]:
        entry["image_id"] = ids[entry["image_id"] - 1]
    expected = ids if ids[0] == 2**53 else (7, 8)
    assert tuple(image.id for image in read(changed).images) == expected


@pytest.mark.parametrize(
    "name",
    ["val\\a b\u00e9.jpg", "./a b\u00e9.jpg", "val/a b\u00e9.jpg", "images/a b\u00e9.jpg", "a%20b\u00e9.jpg", 
     "A B\u00c9.JPG",
     "/mnt/disk/data/val/a b\u00e9.jpg", "C:\\me\\val\\a b\u00e9.jpg", unicodedata.normalize("NFD", "a b\u00e9.jpg"),
     "https://some.host/x/a%20b%C3%A9.jpg?token=1", "/data/local-files/?d=x/a b\u00e9.jpg"],
)  # fmt: skip
def test_images_are_found_under_names_of_other_systems(name, tmp_path):
    folder = tmp_path / "val"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(folder / "a b\u00e9.jpg")
    plain = find_files(folder, ["a b\u00e9.jpg"])
    if (folder / name).is_file():
        assert find_files(folder, [name])[0].samefile(plain[0])
        return
    with pytest.warns(UserWarning, match="1 of 1 images are found under other names than annotated"):
        assert find_files(folder, [name])[0].samefile(plain[0])
    with pytest.raises(UserError, match="are both the file"):
        find_files(folder, ["a b\u00e9.jpg", name])
    with pytest.raises(FileNotFoundError, match="lacks 1 of 1"):
        find_files(folder, ["b.jpg"])
