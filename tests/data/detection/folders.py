"""Small folders in the layouts of Pascal VOC and YOLO, of gray images of 64x48."""

from pathlib import Path

from PIL import Image

OBJECT = (
    "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>{}</object>"
)
SIZE = "<size><width>64</width><height>48</height><depth>3</depth></size>"


def image(path: Path, size=(64, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 90, 90)).save(path)
    return path


def text(path: Path, content: str | bytes = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def xml(*objects, size=SIZE) -> str:
    """A file of objects, each a name, its corners and further elements."""
    listed = "".join(OBJECT.format(*each, *[""] * (6 - len(each))) for each in objects)
    return f"<annotation><filename>other.jpg</filename>{size}{listed}</annotation>"


def write_voc(root: Path, content: str | bytes, train: str | None = None) -> Path:
    """Images and files side by side, one in each part."""
    for part, given in (("train", train or xml(("cat", 8, 8, 24, 24), ("dog", 30, 20, 50, 40)))), ("val", content):
        image(root / part / "1.png")
        text(root / part / "1.xml", given)
    return root


def write_yolo(root: Path, content: str | bytes, classes: str | bytes | None = "cat\ndog\n") -> Path:
    """The layout of Ultralytics, one image in each part."""
    for part, given in (("train", "0 0.25 0.5 0.25 0.5"), ("val", content)):
        image(root / "images" / part / "1.png")
        text(root / "labels" / part / "1.txt", given)
    if classes is not None:
        text(root / "classes.txt", classes)
    return root
