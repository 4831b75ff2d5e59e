"""Finds images and annotations in a folder, by where the tools of COCO, Pascal VOC and YOLO put them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple
from unicodedata import normalize

from gpvit.data.detection.categories import CLASS_FILES
from gpvit.data.detection.fields import Notes
from gpvit.data.files import IMAGE_EXTENSIONS, by_name, image_files, read_lines, require_folder, subfolders
from gpvit.errors import UserError
from gpvit.io import located

Kind = Literal["coco", "voc", "yolo"]
Given = tuple[str | Path | None, str | Path | None]
"""The places of a part's images and annotations that a user named."""

_SPLITS = {"train": ("train",), "val": ("val", "valid", "validation")}
_PLACES: Mapping[Kind, Sequence[tuple[str, str]]] = {
    "coco": (("{}", "annotations/{}.json"), ("{}", "{}/_annotations.coco.json")),
    "voc": (("JPEGImages", "ImageSets/Main/{}.txt"), ("{}", "{}"), ("images/{}", "annotations/{}")),
    "yolo": (("images/{}", "labels/{}"), ("{}/images", "{}/labels"), ("{}", "{}")),
}
"""Where images and annotations of a part lie, `{}` being its name; the first place is the usual one."""
_EXTENSIONS = {"voc": (".xml",), "yolo": (".txt",)}

_LAYOUTS = """images and their objects belong into one of
  COCO:        train/, val/, annotations/train.json, annotations/val.json
  Pascal VOC:  JPEGImages/, Annotations/, ImageSets/Main/train.txt, ImageSets/Main/val.txt
               or train/ and val/, each with images and .xml files
  YOLO:        images/train/, images/val/, labels/train/, labels/val/, and data.yaml or classes.txt
               or train/images/, train/labels/, val/images/, val/labels/
or name their places: --data.val_images, --data.val_annotations, --data.train_images, --data.train_annotations"""
_SHOWN = 5


class Part(NamedTuple):
    """Where the images of training or validation lie, and their annotations: a file, or a folder of files."""

    kind: Kind
    images: Path
    annotations: Path

    @property
    def folder(self) -> Path:
        """The folder of the annotation files; of a list of images, the one that Pascal VOC has for all of them."""
        return self.images.parent / "Annotations" if self.annotations.is_file() else self.annotations

    def exists(self) -> bool:
        """Say whether there are images, and annotations of this kind, of some of them unless a file names them."""
        if not self.images.is_dir() or not self.annotations.exists():
            return False
        if self.annotations.is_file():
            return self.kind == ("voc" if self.annotations.suffix == ".txt" else "coco")
        texts = set() if self.kind == "coco" else _names(self.annotations, _EXTENSIONS[self.kind])
        return bool(texts and texts & _names(self.images, IMAGE_EXTENSIONS))

    def files(self, drop_invalid: bool, notes: Notes) -> list[tuple[Path, Path | None]]:
        """Pair images with their annotation files, by their names but for the extension, in the order of the names.

        An image alone has no objects, and `notes` learns of it.

        Raises:
            FileNotFoundError: A folder or the list of images is missing.
            UserError: Two files have one name, or annotation files have no image and are not to be left out.
        """
        require_folder(self.images, _LAYOUTS)
        images = by_name(self.images, image_files(self.images))
        folder = self.folder
        require_folder(folder, _LAYOUTS)
        extensions = _EXTENSIONS[self.kind]
        found = (path for path in image_files(folder, extensions) if path.name not in CLASS_FILES)
        texts, names = by_name(folder, found), sorted(images)
        if folder != self.annotations:
            names = list(dict.fromkeys(filter(None, map(_listed, read_lines(self.annotations)))))
            if absent := [name for name in names if name not in images]:
                lacks = f"{self.images} lacks {len(absent)} of {len(names)} images, {absent[:_SHOWN]} first"
                raise UserError(f"{self.annotations}: {lacks}; add them, or take them out of the list")
        elif alone := [texts[name].name for name in texts if name not in images]:
            if not drop_invalid:
                raise UserError(
                    f"{folder}: {len(alone)} annotation files have no image of their name in {self.images}, "
                    f"{alone[:_SHOWN]} first; add the images, or leave the files out by drop_invalid: true"
                )
            notes.add(f"annotation files without an image ({len(alone)}), left out", alone[0])
        if not any(name in texts for name in names):
            raise UserError(
                f"{folder} holds no {extensions[0]} file of the name of an image in {self.images}; {_LAYOUTS}"
            )
        for name in names:
            if name not in texts:
                notes.add(f"images without an {extensions[0]} file, which show no object", images[name].name)
        return [(images[name], texts.get(name)) for name in names]


def find_parts(root: Path, given: Mapping[str, Given], kinds: Sequence[Kind]) -> dict[str, Part]:
    """Find where training and validation lie below `root`, the kind and the layout by those of validation.

    Where nothing is found of the one kind that is looked for, or of what is given, the usual place is returned, for its
    reader to say what is missing.

    Raises:
        FileNotFoundError: Annotations of no kind are found.
        UserError: Annotations of several kinds or places are found.
    """
    usual, *others = _candidates(root, "val", given["val"], kinds)
    found = {part: place for place, part in reversed((usual, *others)) if part.exists()}
    if len(found) > 1:
        listed = "; ".join(f"{kind.upper()} in {texts}, of {images}" for kind, images, texts in reversed(found))
        raise UserError(
            f"{root} holds several annotations for validation: {listed}. Choose by --data.class CocoFolder, VOCFolder "
            "or YOLOFolder, or by --data.val_images and --data.val_annotations (and the same for train)"
        )
    if not found and len(kinds) > 1 and given["val"] == (None, None):
        there = [each.name for each in (*subfolders(root), *sorted(root.glob("*.*")))]
        holds = f"holds {', '.join(dict.fromkeys(there[:10]))}" if there else "is empty"
        raise FileNotFoundError(f"{root}: found no images with annotations for validation; it {holds}; {_LAYOUTS}")
    part, place = next(iter(found.items()), (usual[1], usual[0]))
    trained = [*_candidates(root, "train", given["train"], [part.kind])]
    trained.sort(key=lambda each: (not each[1].exists(), each[0] != place))
    return {"val": part, "train": trained[0][1]}


def _candidates(root: Path, split: str, given: Given, kinds: Sequence[Kind]) -> Iterator[tuple[tuple[str, str], Part]]:
    for kind in kinds:
        for place in _PLACES[kind]:
            for name in _SPLITS[split]:
                images, annotations = (
                    root / (usual.format(name) if own is None else located(own))
                    for own, usual in zip(given, place, strict=True)
                )
                yield place, Part(kind, images, annotations)


def _names(folder: Path, extensions: tuple[str, ...]) -> set[str]:
    """Give the names of files, as `by_name` does, also where two files have one name."""
    files = (path for path in image_files(folder, extensions) if path.name not in CLASS_FILES)
    return {normalize("NFC", path.relative_to(folder).with_suffix("").as_posix()) for path in files}


def _listed(line: str) -> str:
    """Take the name of an image from a line of a list, which may have its extension."""
    return line[: line.rindex(".")] if line.lower().endswith(IMAGE_EXTENSIONS) else line
