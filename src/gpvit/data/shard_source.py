"""What shards are made from: the splits of a folder of classes, or the digits, as encoded images with labels."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset

from gpvit.data.synthetic.digits import digits_split
from gpvit.errors import UserError

_LAYOUT = "images belong into DATASET/SPLIT/CLASS/, as train/cat/ and val/cat/"


class Item(NamedTuple):
    """One image to be written.

    Args:
        key: Name of its files inside the shard, without their extensions.
        extension: Of the image's file, in lower case.
        source: The image's file, or its content.
        size: Bytes of its content.
        label: Number of its class.
    """

    key: str
    extension: str
    source: Path | bytes
    size: int
    label: int

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.source) if isinstance(self.source, Path) else self.key

    def read(self) -> bytes:
        """Read its content."""
        return self.source.read_bytes() if isinstance(self.source, Path) else self.source


class ImageSource(NamedTuple):
    """Images in splits.

    Args:
        class_names: The classes in the order of their labels.
        splits: The images of each split, by its name.
    """

    class_names: Sequence[str]
    splits: dict[str, list[Item]]

    def digests(self) -> dict[str, str]:
        """Give a hash of each split, of the names and labels of its images; a repaired image changes nothing."""
        return {
            split: hashlib.sha256(repr([(*item[:2], item.label) for item in items]).encode()).hexdigest()[:16]
            for split, items in self.splits.items()
        }


def image_source(dataset: str | Path) -> ImageSource:
    """Find the images of a data set.

    Args:
        dataset: A folder with `SPLIT/CLASS/` folders of images, at any depth below, or `digits`.

    Returns:
        Its images. A split that is called `val` is named `validation`, as in the shards that others publish.

    Raises:
        FileNotFoundError: There is no such folder, no split, no class folder or a class without images.
        ValueError: The splits hold different classes.
    """
    if str(dataset) == "digits":
        return _digits()
    root = Path(dataset).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; {_LAYOUT}")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise FileNotFoundError(f"{root} holds no folder; {_LAYOUT}")
    classes = {folder: _classes(folder) for folder in folders}
    class_names = classes[folders[0]]
    for folder, names in classes.items():
        if names != class_names:
            differing = sorted(set(names) ^ set(class_names))
            raise UserError(
                f"{folders[0]} and {folder} must hold the same class folders; only in one of them: {differing[:10]}. "
                "Rename, add or remove these"
            )
    splits = {"validation" if folder.name == "val" else folder.name: _items(folder, class_names) for folder in folders}
    return ImageSource(class_names, splits)


def _classes(folder: Path) -> list[str]:
    try:
        return find_classes(str(folder))[0]
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder} holds no class folder; {_LAYOUT}") from None


def _items(folder: Path, class_names: list[str]) -> list[Item]:
    labels = {name: label for label, name in enumerate(class_names)}
    try:
        files = make_dataset(str(folder), labels, extensions=IMG_EXTENSIONS)
    except FileNotFoundError as error:  # names the class folders without images, and the known extensions
        raise FileNotFoundError(f"{folder}: {error} Add images or remove these folders") from error
    digits = len(str(len(files)))
    items = []
    for number, (name, label) in enumerate(files):
        path = Path(name)
        # The number makes keys unique, and a dot would end the key; the rest is for people who look for the file.
        key = f"{number:0{digits}}_{path.stem.replace('.', '_')}"
        items.append(Item(key, path.suffix[1:].lower(), path, path.stat().st_size, label))
    return items


def _digits() -> ImageSource:
    splits: dict[str, list[Item]] = {}
    for name in ("train", "test"):
        items = splits["train" if name == "train" else "validation"] = []
        for number, (pixels, label) in enumerate(zip(*digits_split(name), strict=True)):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            items.append(Item(f"{number:04}_digit{label}", "png", buffer.getvalue(), buffer.tell(), int(label)))
    return ImageSource([str(digit) for digit in range(10)], splits)
