"""Folders of masks: their files damaged, and a `classes.yaml` of wrong fields."""

import pytest
import yaml
from fuzz.damage import documents, files
from fuzz.property import holds
from fuzz.test_images import SOUND
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from gpvit.data.segmentation import MaskFolder

SIZE = 20, 14
CLASSES = {
    "names": ["background", "cat", "dog"],
    "colors": [[0, 0, 0], [220, 60, 20], [40, 90, 200]],
    "ignore_index": 255,
    "ignore_color": [255, 255, 255],
    "reduce_zero_label": False,
}
NAMED = {**CLASSES, "names": dict(enumerate(CLASSES["names"]))}
YAML = yaml.safe_dump(CLASSES).encode()


@pytest.fixture
def root(tmp_path):
    for part in ("train", "val"):
        for kind, mode, pixel in (("images", "RGB", (9, 9, 9)), ("masks", "L", 2)):
            path = tmp_path / kind / part / "a.png"
            path.parent.mkdir(parents=True)
            Image.new(mode, SIZE, pixel).save(path)
    mask = Image.new("RGB", SIZE, (220, 60, 20))
    mask.save(tmp_path / "masks" / "train" / "a.png")
    return tmp_path


def read_all(root, **options):
    data = MaskFolder(root, **options)
    return [sample.mask.max() for split in ("train", "val") for sample in data.samples(split)]


@given(file=files({n: c for n, c in SOUND.items() if n.startswith(("PNG", "TIFF", "GIF", "BMP"))}), known=st.booleans())
def test_damaged_masks(root, file, known):
    (root / "classes.yaml").write_bytes(YAML)
    if not known:
        (root / "classes.yaml").unlink()
    for part in ("train", "val"):
        (root / "masks" / part / "a.png").write_bytes(file[1])
    holds(lambda: read_all(root), root)


@given(
    content=documents(CLASSES, NAMED).map(lambda classes: yaml.safe_dump(classes).encode())
    | files({"": YAML}).map(lambda file: file[1])
)
@example(content=yaml.safe_dump({**CLASSES, "names": ["cat", "cat", "dog"]}).encode())
def test_wrong_classes(root, content):
    (root / "classes.yaml").write_bytes(content)
    holds(lambda: read_all(root), root)
