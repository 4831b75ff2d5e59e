"""The mistakes that docs/data-formats.md lists are made, and give the messages that it quotes."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from data.detection.folders import write_voc, write_yolo, xml
from PIL import Image

from gpvit.data.classification.folders import ImageFolder
from gpvit.data.detection import CocoFolder, ObjectFolder
from gpvit.data.files import IMAGE_EXTENSIONS
from gpvit.data.segmentation import MaskFolder
from gpvit.data.segmentation.masks import CLASSES_YAML
from gpvit.errors import UserError
from gpvit.runtime.images import read_image

PAGE = (Path(__file__).parents[2] / "docs" / "data-formats.md").read_text(encoding="utf-8")
QUOTED = dict(re.findall(r"### (\d+)\. .*\n\n```text\n([^`]*)\n```", PAGE))
MASK = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
COLORS = np.array([[0, 0, 0], [220, 60, 20], [40, 90, 200]], np.uint8)


def masks(write, classes=None, folder="masks", name="1.png"):
    for split in ("train", "val"):
        for kind, file in (("images", "1.jpg"), (folder, name)):
            path = Path("my_masks", kind, split, file)
            path.parent.mkdir(parents=True)
            write(path) if kind == folder else Image.new("RGB", (3, 2)).save(path)
    if classes is not None:
        Path("my_masks/classes.yaml").write_text(classes)
    data = MaskFolder("my_masks")
    for split in ("train", "val"):
        data.samples(split)[0]


def soft(path):
    pixels = COLORS[MASK]
    pixels[0, 1] = 110, 30, 10
    Image.fromarray(pixels).save(path)


def paletted(path):
    order = [0, 1, 2] if "train" in path.parts else [0, 2, 1]
    image = Image.fromarray(np.array(order, np.uint8)[MASK])
    image.putpalette(COLORS[order].ravel().tolist())
    image.save(path)


def folders():
    for name in ("train/cat", "train/dog", "val/cat", "val/Dog"):
        Path("my_images", name).mkdir(parents=True)
    ImageFolder("my_images")


MISTAKES = {
    "1": lambda: masks(lambda path: Image.fromarray(np.uint8(255) * (MASK > 0)).save(path)),
    "2": lambda: masks(lambda path: Image.fromarray(COLORS[MASK]).save(path)),
    "3": lambda: masks(paletted),
    "4": lambda: masks(lambda path: Image.fromarray(MASK).save(path), name="1.jpg"),
    "5": lambda: masks(lambda path: Image.fromarray(MASK).save(path), folder="labels"),
    "6": lambda: masks(lambda path: Image.fromarray(MASK).save(path), name="1_mask.png"),
    "7": lambda: masks(lambda path: Image.fromarray(MASK).save(path), "names: [cat, dog]"),
    "8": lambda: masks(soft, CLASSES_YAML),
    "9": folders,
    "10": lambda: read_image(np.full((2, 3), 200, np.float32)),
}


def coco(change):
    """Read two images of two objects each, their annotations changed."""
    square = [8, 8, 24, 8, 24, 24, 8, 24]
    one = {"bbox": [8, 8, 16, 16], "segmentation": [square], "iscrowd": 0}
    document = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 48, "width": 64} for i in (1, 2, 3, 5, 6)],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": [{"id": i, "image_id": 1 + i % 2, "category_id": 1 + i % 2, **one} for i in (1, 2, 3, 4)],
    }
    for folder in ("val", "annotations"):
        Path("my_objects", folder).mkdir(parents=True)
    for image in document["images"]:
        Image.new("RGB", (64, 48)).save(f"my_objects/val/{image['file_name']}")
    document = change(document) or document
    Path("my_objects/annotations/val.json").write_text(json.dumps(document))
    CocoFolder("my_objects").samples("val")


def first(**fields):
    return lambda document: document["annotations"][0].update(fields)


def corners(document):
    for entry in document["annotations"]:
        entry.update(bbox=[8, 8, 24, 24], segmentation=[])
    document["annotations"][0].update(bbox=[40, 30, 60, 44])
    document["annotations"][1].update(bbox=[30, 30, 50, 40])


def boxes_alone(document):
    for entry in document["annotations"]:
        del entry["segmentation"]


def without_images(document):
    for number in (1, 3):
        Path(f"my_objects/val/{number}.png").unlink()


COCO_MISTAKES = {
    "a value the table does not accept": first(iscrowd="crowd"),
    "a decimal comma": first(bbox=["3,5", 3, 5, 5]),
    "parts of the image for pixels": first(bbox=[0.1, 0.2, 0.5, 0.5]),
    "corners, or x and y exchanged": corners,
    "no width, or wholly outside": first(bbox=[3, 3, 5, 0]),
    "a mask without a pixel": first(segmentation={"size": [48, 64], "counts": [48 * 64]}),
    "boxes alone, for a Mask R-CNN": boxes_alone,
    "an image or a category that is not listed": first(image_id=4),
    "one id for two images, one name for two used categories": lambda document: document["images"][1].update(id=1),
    "images that are not there": without_images,
    "another format": lambda document: {"shapes": [], "imagePath": "1.png"},
}


@pytest.mark.parametrize("what", COCO_MISTAKES)
def test_a_coco_file_is_refused_in_the_words_that_are_quoted(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quoted = dict(re.findall(r"^\| ([^`|]+) \| `([^`]+)` \|$", PAGE, re.MULTILINE))
    assert COCO_MISTAKES.keys() <= quoted.keys()
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        coco(COCO_MISTAKES[what])
    parts = [part.strip() for part in quoted[what].split("...")]
    assert re.search(".*".join(map(re.escape, parts)), " ".join(str(error.value).split())), str(error.value)


BOX = ("cat", 8, 8, 24, 24)
TEXT_MISTAKES = {
    "a DOCTYPE, which may declare entities without end": "<!DOCTYPE a>" + xml(BOX),
    "cut short, empty, or other XML": "",
    "a corner that is none": xml(("cat", 8, 8, "nan", 24)),
    "no width, outside, or parts of the image": xml(BOX, ("cat", 8, 8, 8, 24)),
    "another order of the numbers": xml(("cat", 30, 30, 20, 17), ("cat", 40, 5, 20, 9), ("cat", 2, 2, 6, 5)),
    "coordinates that may be pixels in several ways, or are none": "0 32 24 8 8",
    "pixels among parts of the image": "0 0.5 0.5 0.25 0.5\n0 32 24 16 24",
    "another number of columns": "\n0 0.5 0.5 0.25",
    "predictions": "0 0.5 0.5 0.25 0.5 0.9",
    "a class beyond the list": "2 0.5 0.5 0.25 0.5",
}


@pytest.mark.parametrize("what", TEXT_MISTAKES)
def test_objects_of_voc_and_yolo_are_refused_in_the_words_that_are_quoted(what, tmp_path):
    (quoted,) = re.findall(rf"^\| {re.escape(what)} \| `([^`]+)` \|$", PAGE, re.MULTILINE)
    content = TEXT_MISTAKES[what]
    write = write_yolo if content[:1].strip().isdigit() or content.startswith("\n") else write_voc
    with pytest.raises(UserError) as error:
        ObjectFolder(write(tmp_path, content), masks=False)
    parts = [part.strip() for part in quoted.split("...")]
    assert re.search(".*".join(map(re.escape, parts)), " ".join(str(error.value).split())), str(error.value)


@pytest.mark.parametrize("number", MISTAKES)
def test_a_mistake_gives_the_message_that_is_quoted(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        MISTAKES[number]()
    assert str(error.value) == QUOTED[number]


def test_the_page_says_what_the_code_says():
    assert len(QUOTED) == len(MISTAKES) == 10
    assert yaml.safe_load(CLASSES_YAML) == yaml.safe_load(re.search(r"```yaml\n([^`]*)```", PAGE)[1])
    assert f"`{' '.join(IMAGE_EXTENSIONS)}`" in PAGE
