import json

import numpy as np
import pytest
from faster_coco_eval import mask as codec
from PIL import Image

SHAPES = ("disc", "square", "bar")
COLORS = {"disc": (200, 40, 40), "square": (40, 200, 40), "bar": (40, 40, 200)}
IDS = {"disc": 44, "square": 7, "bar": 12}
"""Ids as annotation tools give them: with gaps, and in another order than the file lists them in."""


def draw(shape, height, width, left, top, side):
    rows, columns = np.mgrid[:height, :width]
    if shape == "disc":
        middle = (left + side / 2, top + side / 2)
        return (columns + 0.5 - middle[0]) ** 2 + (rows + 0.5 - middle[1]) ** 2 <= (side / 2) ** 2
    wide = side if shape == "square" else side // 3
    return (columns >= left) & (columns < left + wide) & (rows >= top) & (rows < top + side)


def segmentation(mask, form, box):
    if form == "polygon":  # only of shapes that are their boxes
        left, top, width, height = box
        return [[left, top, left + width, top, left + width, top + height, left, top + height]]
    run_lengths = codec.encode(np.asfortranarray(mask.astype(np.uint8)))
    if form == "compressed":
        return {"size": run_lengths["size"], "counts": run_lengths["counts"].decode()}
    flat = np.concatenate([[0], mask.flatten(order="F").astype(int), [-1]])
    edges = np.flatnonzero(np.diff(flat[:-1], prepend=0) != 0)
    return {"size": list(mask.shape), "counts": np.diff([0, *(edges - 1), mask.size]).tolist()}


def make_part(root, part, count, random):
    """Draw shapes on gray noise; the first image is empty, every image's size its own, one object a crowd."""
    (root / part / "deeper").mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        height, width = int(random.integers(60, 90)), int(random.integers(60, 90)) + (30 if number % 2 else -20)
        pixels = random.integers(100, 140, (height, width, 3)).astype(np.uint8)
        image = {"id": 1000 - 3 * number, "file_name": f"deeper/{number}.png", "height": height, "width": width}
        taken = np.zeros((height, width), bool)
        for place in range(0 if number == 0 else 1 + number % 4):
            shape = SHAPES[int(random.integers(3))]
            while True:  # until it lies beside the others
                side = int(random.integers(9, 24))
                left, top = int(random.integers(0, width - side)), int(random.integers(0, height - side))
                mask = draw(shape, height, width, left, top, side)
                if not (mask & taken).any():
                    break
            taken |= mask
            pixels[mask] = COLORS[shape]
            box = [left, top, side if shape != "bar" else side // 3, side]
            form = ("compressed", "run lengths", "polygon")[place % 3 if shape != "disc" else place % 2]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": IDS[shape],
                    "bbox": box,
                    "area": int(mask.sum()),
                    "iscrowd": int(number == 3 and place == 1),
                    "segmentation": segmentation(mask, form, box),
                }
            )
        images.append(image)
        Image.fromarray(pixels).save(root / part / image["file_name"])
    categories = [{"id": IDS[shape], "name": shape} for shape in SHAPES]
    (root / "annotations").mkdir(exist_ok=True)
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / f"{part}.json").write_text(json.dumps(document))


@pytest.fixture
def coco_root(tmp_path):
    random = np.random.default_rng(0)
    for part, count in (("train", 9), ("val", 5)):
        make_part(tmp_path / "shapes", part, count, random)
    return tmp_path / "shapes"


@pytest.fixture
def change(coco_root):
    """Rewrite an annotation file by a function of its contents."""

    def rewrite(function, part="val"):
        path = coco_root / "annotations" / f"{part}.json"
        document = json.loads(path.read_text())
        function(document)
        path.write_text(json.dumps(document))
        return path

    return rewrite
