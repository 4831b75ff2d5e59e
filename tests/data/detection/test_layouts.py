import json

import pytest
from data.detection.folders import image, text, write_voc, write_yolo, xml

from gpvit.data.detection import CocoFolder, ObjectFolder, VOCFolder, YOLOFolder
from gpvit.errors import UserError

CAT = xml(("cat", 8, 8, 24, 24))
LINE = "0 0.25 0.5 0.25 0.5"
DOCUMENT = {
    "images": [{"id": 1, "file_name": "1.png", "height": 48, "width": 64}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 12, 16, 24]}],
}


def layout(root, images, annotations, content, lists=None):
    for part in ("train", "val") if "valid" not in images + annotations else ("train", "valid"):
        image(root / images.format(part) / "1.png")
        text(root / annotations.format(part), content)
        if lists is not None:
            text(root / lists.format(part), "1\n")
    return root


LAYOUTS = {
    "COCO": (CocoFolder, "{}", "annotations/{}.json", json.dumps(DOCUMENT)),
    "COCO of Roboflow": (CocoFolder, "{}", "{}/_annotations.coco.json", json.dumps(DOCUMENT)),
    "VOC": (VOCFolder, "JPEGImages", "Annotations/1.xml", CAT, "ImageSets/Main/{}.txt"),
    "VOC side by side": (VOCFolder, "{}", "{}/1.xml", CAT),
    "VOC in two folders": (VOCFolder, "images/{}", "annotations/{}/1.xml", CAT),
    "YOLO": (YOLOFolder, "images/{}", "labels/{}/1.txt", LINE),
    "YOLO of Roboflow": (YOLOFolder, "{}/images", "{}/labels/1.txt", LINE),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("valid", ["val", "valid"])
def test_every_layout_is_found_by_looking(name, valid, tmp_path):
    kind, *places = LAYOUTS[name]
    layout(tmp_path, *places)
    if kind is YOLOFolder:
        text(tmp_path / "data.yaml", "names: [cat]")
    for path in list(tmp_path.rglob("val*")):
        path.rename(path.with_name(path.name.replace("val", valid)))
    for each in (ObjectFolder, kind):
        data = each(tmp_path, masks=False, num_workers=0)
        data.setup("fit")
        assert data.class_names == ("cat",)
        assert len(data.train_set) == len(data.val_set) == 1
        assert data.val_set[0][1]["boxes"].shape == (1, 4)
    for other in {CocoFolder, VOCFolder, YOLOFolder} - {kind}:
        with pytest.raises(FileNotFoundError, match=str(tmp_path)):
            other(tmp_path, masks=False).setup("fit")


def test_several_formats_are_named_and_one_is_chosen(tmp_path):
    write_voc(tmp_path, CAT)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "val.json").write_text(json.dumps(DOCUMENT))
    with pytest.raises(
        UserError, match=r"several annotations for validation: COCO in .*val.json.*; VOC in .*val, of .*"
    ):
        ObjectFolder(tmp_path, masks=False)
    assert VOCFolder(tmp_path, masks=False).annotations("val").boxes.tolist() == [[8, 8, 24, 24]]
    assert CocoFolder(tmp_path, masks=False).annotations("val").boxes.tolist() == [[8, 12, 24, 36]]
    given = ObjectFolder(tmp_path, masks=False, val_annotations="annotations/val.json")
    assert given.annotations("val").boxes.tolist() == [[8, 12, 24, 36]]


def test_nothing_to_be_found(tmp_path):
    image(tmp_path / "photos" / "1.png")
    with pytest.raises(
        FileNotFoundError, match=r"it holds photos; images and their objects belong(?s:.*)val_annotations"
    ):
        ObjectFolder(tmp_path)
    with pytest.raises(FileNotFoundError, match="none: no such folder"):
        ObjectFolder(tmp_path / "photos" / "none")


def test_places_may_be_given(tmp_path):
    layout(tmp_path, "pictures/{}", "xml/{}/1.xml", CAT)
    options = {f"{part}_{kind}": f"{folder}/{part}" for part in ("train", "val") for kind, folder in PLACES.items()}
    data = ObjectFolder(tmp_path, masks=False, num_workers=0, **options)
    data.setup("fit")
    assert len(data.train_set) == 1


PLACES = {"images": "pictures", "annotations": "xml"}


def test_a_list_names_the_images(tmp_path):
    layout(tmp_path, "JPEGImages", "Annotations/1.xml", CAT, "ImageSets/Main/{}.txt")
    image(tmp_path / "JPEGImages" / "2.JPG")
    text(tmp_path / "Annotations" / "2.xml", CAT)
    image(tmp_path / "JPEGImages" / "a b.png")
    main = tmp_path / "ImageSets" / "Main"
    text(main / "val.txt", "2.jpg\r\n\r\na b\r\n2\r\n".encode("utf-8-sig"))
    with pytest.warns(UserWarning, match=r"images without an .xml file, which show no object \(1, first a b.png\)"):
        data = ObjectFolder(tmp_path, masks=False)
    assert [each.file_name for each in data.annotations("val").images] == ["2.JPG", "a b.png"]
    text(main / "fold.txt", "1\n2\n")
    assert len(ObjectFolder(tmp_path, masks=False, val_annotations="ImageSets/Main/fold.txt").annotations("val")) == 2
    text(main / "val.txt", "3\n")
    with pytest.raises(UserError, match=r"val.txt: .*JPEGImages lacks 1 of 1 images, \['3'\] first; add them"):
        ObjectFolder(tmp_path, masks=False)


def test_files_that_are_alone(tmp_path):
    write_yolo(tmp_path, LINE)
    image(tmp_path / "images" / "val" / "deeper" / "2.png")
    with pytest.warns(UserWarning, match=r"images without an .txt file, which show no object \(1, first 2.png\)"):
        data = ObjectFolder(tmp_path, masks=False)
    assert [len(each.labels) for each in data.annotations("val")] == [1, 0]
    text(tmp_path / "labels" / "val" / "3.txt", LINE)
    with pytest.raises(UserError, match=r"1 annotation files have no image of their name in .*val, \['3.txt'\] first"):
        ObjectFolder(tmp_path, masks=False)
    with pytest.warns(UserWarning, match=r"annotation files without an image \(1\), left out"):
        ObjectFolder(tmp_path, masks=False, drop_invalid=True)


@pytest.mark.parametrize("name", ["images/val/1.PNG", "labels/val/1.TXT"])
def test_two_files_of_one_name(name, tmp_path):
    write_yolo(tmp_path, LINE)
    (image if name.endswith("PNG") else text)(tmp_path / name)
    with pytest.raises(UserError, match=r"val.1\.\w+ and .*val.1\.\w+ have the same name; files are paired by it"):
        ObjectFolder(tmp_path, masks=False)


def test_names_in_other_forms_of_unicode_are_paired(tmp_path):
    write_yolo(tmp_path, LINE)
    (tmp_path / "images" / "val" / "1.png").rename(tmp_path / "images" / "val" / "u\u0308.png")
    (tmp_path / "labels" / "val" / "1.txt").rename(tmp_path / "labels" / "val" / "\u00fc.txt")
    assert YOLOFolder(tmp_path, masks=False, num_workers=0).annotations("val").labels.tolist() == [1]


def test_validation_alone_can_be_evaluated_but_not_trained_on(tmp_path):
    write_voc(tmp_path, CAT)
    for path in (tmp_path / "train").iterdir():
        path.unlink()
    (tmp_path / "train").rmdir()
    data = ObjectFolder(tmp_path, masks=False, num_workers=0)
    data.setup("validate")
    with pytest.raises(FileNotFoundError, match=r"train: no such folder; images and their objects belong"):
        data.setup("fit")
