"""Annotations in COCO's format: every field of every wrong type and value, or absent; and damaged bytes."""

import json

import pytest
from fuzz.damage import documents, files
from fuzz.property import holds
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gpvit.data.detection import CocoFolder

SIZE = 20, 14
POLYGON = {"segmentation": [[2, 2, 9, 2, 9, 9]], "bbox": [2, 2, 7, 7], "area": 24.5, "iscrowd": 0}
RUNS = {"segmentation": {"size": [14, 20], "counts": [20, 60, 200]}, "bbox": [1, 0, 5, 14], "area": 60, "iscrowd": 1}
PACKED = {"segmentation": {"size": [14, 20], "counts": "d0l1X6"}, "bbox": [1, 0, 5, 14], "area": 60, "iscrowd": 0}
DOCUMENT = {
    "info": {"year": 2026},
    "images": [{"id": number, "file_name": f"{number}.png", "height": 14, "width": 20} for number in (1, 2)],
    "categories": [{"id": 3, "name": "cat", "supercategory": "animal"}, {"id": 7, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, **POLYGON},
        {"id": 2, "image_id": 1, "category_id": 7, **RUNS},
        {"id": 3, "image_id": 2, "category_id": 7, **PACKED},
    ],
}


@pytest.fixture
def root(tmp_path):
    for part in ("train", "val"):
        for number in (1, 2):
            path = tmp_path / part / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", SIZE, (9, 9, 9)).save(path)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "train.json").write_text(json.dumps(DOCUMENT))
    return tmp_path


def read_all(root, **options):
    data = CocoFolder(root, num_workers=0, **options)
    data.setup("validate")
    return [(data.samples("val")[index], data.val_set[index]) for index in range(len(data.val_set))]


CONTENT = documents(DOCUMENT).map(lambda document: json.dumps(document).encode())
CONTENT |= files({"": json.dumps(DOCUMENT).encode()}).map(lambda file: file[1])


@given(content=CONTENT, masks=st.booleans(), drop_invalid=st.booleans())
def test_wrong_annotations(root, content, masks, drop_invalid):
    (root / "annotations" / "val.json").write_bytes(content)
    holds(lambda: read_all(root, masks=masks, drop_invalid=drop_invalid), root)
