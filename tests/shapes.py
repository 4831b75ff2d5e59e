"""Folders of one's own as a newcomer has them: crops of photographs as classes, coloured shapes as masks and objects."""

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from gpvit.data.synthetic.photographs import load_photograph, photograph_names

SHAPES = ("disc", "square", "triangle")
SIZE = (128, 96)  # width and height of a scene


def write_crops(root: Path, train: int = 30, val: int = 20, seed: int = 0) -> Path:
    """Write `root/{train,val}/PHOTOGRAPH/N.png`: 96x96 pixels of three photographs each."""
    rng = np.random.default_rng(seed)
    for name in photograph_names()[:3]:
        photograph = load_photograph(name)
        for split, count in (("train", train), ("val", val)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                left, top = (int(rng.integers(side - 96)) for side in photograph.size)
                photograph.crop((left, top, left + 96, top + 96)).save(folder / f"{index}.png")
    return root


def scene(rng: np.random.Generator) -> tuple[Image.Image, list[tuple[int, list[tuple[float, float]]]]]:
    """Draw one to four shapes of any colour on a noisy ground; give each one's class, from 0, and its outline."""
    width, height = SIZE
    ground = rng.integers(60, 200, 3) + rng.normal(0, 12, (height, width, 3))
    image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    draw, shapes, taken = ImageDraw.Draw(image), [], []
    for _ in range(int(rng.integers(1, 5))):
        radius = rng.uniform(9, 20)
        x, y = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
        if any(math.hypot(x - other[0], y - other[1]) < radius + other[2] for other in taken):
            continue
        taken.append((x, y, radius))
        label = int(rng.integers(3))
        corners = (24, 4, 3)[label]
        turn = (0, math.pi / 4, -math.pi / 2)[label]
        angles = [turn + 2 * math.pi * corner / corners for corner in range(corners)]
        outline = [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]
        draw.polygon(outline, fill=tuple(int(value) for value in rng.integers(0, 256, 3)))
        shapes.append((label, outline))
    return image, shapes


def write_masks(root: Path, train: int = 40, val: int = 12, seed: int = 0) -> Path:
    """Write shapes as masks, `root/{images,masks}/{train,val}/N`, with their `classes.yaml`."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for index in range(count):
            image, shapes = scene(rng)
            mask = Image.new("L", SIZE)
            for label, outline in shapes:
                ImageDraw.Draw(mask).polygon(outline, fill=1 + label)
            image.save(root / "images" / split / f"{index}.jpg", quality=95)
            mask.save(root / "masks" / split / f"{index}.png")
    (root / "classes.yaml").write_text(f"names: [background, {', '.join(SHAPES)}]\n")
    return root


def write_objects(root: Path, train: int = 40, val: int = 12, seed: int = 0) -> Path:
    """Write shapes as objects in COCO's format, `root/{train,val}/N.jpg` and `root/annotations/{train,val}.json`."""
    rng = np.random.default_rng(seed)
    (root / "annotations").mkdir(parents=True)
    for split, count in (("train", train), ("val", val)):
        (root / split).mkdir()
        images, objects = [], []
        for index in range(count):
            image, shapes = scene(rng)
            image.save(root / split / f"{index}.jpg", quality=95)
            images.append({"id": index, "file_name": f"{index}.jpg", "width": SIZE[0], "height": SIZE[1]})
            for label, outline in shapes:
                (left, top), (right, bottom) = np.min(outline, 0).tolist(), np.max(outline, 0).tolist()
                box = [left, top, right - left, bottom - top]
                objects.append(
                    {
                        "id": len(objects) + 1,
                        "image_id": index,
                        "category_id": label + 1,
                        "bbox": box,
                        "area": box[2] * box[3],
                        "segmentation": [np.ravel(outline).tolist()],
                        "iscrowd": 0,
                    }
                )
        categories = [{"id": label + 1, "name": name} for label, name in enumerate(SHAPES)]
        content = {"images": images, "annotations": objects, "categories": categories}
        (root / "annotations" / f"{split}.json").write_text(json.dumps(content))
    return root
