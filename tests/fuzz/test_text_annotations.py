"""Annotations of Pascal VOC's and YOLO's formats: every element and column of every wrong value; and damaged bytes."""

import pytest
from data.detection.folders import image, text, xml
from fuzz.damage import TEXTS, documents, files
from fuzz.property import holds
from hypothesis import example, given
from hypothesis import strategies as st

from gpvit.data.detection import ObjectFolder, VOCFolder, YOLOFolder

OBJECTS = [["cat", 8, 8, 24, 24], ["dog", "1.5", "2", "60", "40", "<difficult>1</difficult>"]]
LINES = [["0", "0.25", "0.5", "0.25", "0.5"], ["1", 0.125, 0.25, 0.375, 0.25, 0.375, 0.75, 0.125, 0.75]]
VOC = xml(*OBJECTS).encode()
YOLO = "\n".join(" ".join(map(str, line)) for line in LINES).encode()
NAMES = b"path: .\nnames: {0: cat, 1: dog}\nnc: 2\n"


@pytest.fixture
def root(tmp_path):
    for part in ("train", "val"):
        image(tmp_path / "images" / part / "1.png")
    return tmp_path


def read_all(data):
    data.setup("fit")
    return [dataset[0] for dataset in (data.val_set, data.train_set)]


def encoded(content):
    return content.encode(errors="replace")


def rendered(rows):
    """Write what may be anything as a file of Pascal VOC's."""
    rows = rows if isinstance(rows, list) else [rows]
    listed = [(row if isinstance(row, list) else [row])[:6] for row in rows]
    return xml(*[[*row, *[""] * (5 - len(row))] for row in listed]).encode(errors="replace")


def lined(rows):
    rows = rows if isinstance(rows, list) else [rows]
    lines = [" ".join(map(str, row if isinstance(row, list) else [row])) for row in rows]
    return "\n".join(lines).encode(errors="replace")


@given(content=documents(OBJECTS).map(rendered) | files({"": VOC}).map(lambda file: file[1]), drop=st.booleans())
@example(content=b"<!DOCTYPE a [<!ENTITY b 'c'>]><annotation/>", drop=False)
def test_wrong_xml(root, content, drop):
    text(root / "annotations" / "train" / "1.xml", VOC)
    text(root / "annotations" / "val" / "1.xml", content)
    holds(lambda: read_all(VOCFolder(root, masks=False, drop_invalid=drop)), root)


@given(
    content=documents(LINES).map(lined) | files({"": YOLO}).map(lambda file: file[1]),
    drop=st.booleans(),
    masks=st.booleans(),
)
def test_wrong_lines(root, content, drop, masks):
    text(root / "data.yaml", NAMES)
    text(root / "labels" / "train" / "1.txt", YOLO.splitlines()[1])
    text(root / "labels" / "val" / "1.txt", content)
    holds(lambda: read_all(YOLOFolder(root, masks, drop)), root)


@given(content=files({"": NAMES}).map(lambda file: file[1]) | st.sampled_from(TEXTS).map(encoded))
def test_wrong_lists_of_classes(root, content):
    for part in ("train", "val"):
        text(root / "labels" / part / "1.txt", YOLO)
    text(root / "data.yaml", content)
    holds(lambda: read_all(ObjectFolder(root, masks=False)), root)
