"""Finds image files: below folders, by patterns and through links, past what systems leave behind."""

import codecs
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from unicodedata import normalize

from torchvision.datasets.folder import IMG_EXTENSIONS

from gpvit.errors import UserError
from gpvit.io import located, natural_key

IMAGE_EXTENSIONS = (*IMG_EXTENSIONS, ".gif", ".avif", ".jfif", ".jp2", ".pbm", ".pnm")
_LEFT_BEHIND = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found"}
_LEFT_BEHIND |= {"thumbs.db", "ehthumbs.db", "desktop.ini"}


def list_images(inputs: str | Path | Sequence[str | Path]) -> list[Path]:
    """List image files from files, folders and glob patterns, each file once, in the order of the inputs.

    Links are followed. Hidden files and folders, and those that systems leave behind, such as `__MACOSX` and `@eaDir`,
    are passed over unless an input names them itself.

    Args:
        inputs: Files, and files that a pattern matches, are taken as they are, whatever their extension. Folders,
            and folders that a pattern matches, give their images at any depth, by extension. They are sorted as
            people count: `frame2.png` comes before `frame10.png`.

    Raises:
        FileNotFoundError: A path does not exist, a pattern matches nothing, or a folder holds no image.
        UserError: `inputs` is empty.
    """
    inputs = [inputs] if isinstance(inputs, str | Path) else inputs
    if not inputs:
        raise UserError("no image was given: name at least one file, folder or pattern such as 'photos/*.jpg'")
    found: list[Path] = []
    for entry in map(located, inputs):
        matches = [entry]
        if glob.has_magic(str(entry)) and not os.path.lexists(entry):
            named = set(entry.parts)
            matches = [path for path in _matches(entry) if not any(map(is_left_behind, set(path.parts) - named))]
        if not matches:
            raise FileNotFoundError(f"pattern {entry} matches nothing; check it (relative to {Path.cwd()})")
        found += [path for match in sorted(matches, key=_natural_order) for path in _images_in(match)]
    return list(dict.fromkeys(found))


def image_files(folder: Path, extensions: tuple[str, ...] = IMAGE_EXTENSIONS) -> Iterator[Path]:
    """Give the images, or the files of other extensions, at any depth below a folder.

    Links are followed; one that leads nowhere is given too.
    """
    for each, entries in _walk(folder):
        for entry in entries:
            is_file = entry.is_file(follow_symlinks=False) or (entry.is_symlink() and not os.path.isdir(entry))
            if is_file and entry.name.lower().endswith(extensions):
                yield each / entry.name


def by_name(folder: Path, files: Iterable[Path], suffix: str = "") -> dict[str, Path]:
    """Give files by their path in a folder, in Unicode's composed form, without extension and suffix.

    Files that do not end with the suffix are passed over; two of one name are refused by a UserError.
    """
    named: dict[str, Path] = {}
    for path in files:
        name = normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())
        if not name.endswith(suffix):
            continue
        name = name.removesuffix(suffix)
        if name in named:
            raise UserError(f"{named[name]} and {path} have the same name; files are paired by it: rename one")
        named[name] = path
    return named


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text in UTF-8, or in UTF-16 with its mark, without the spaces around them."""
    content = path.read_bytes()
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return [line.strip() for line in content.decode(encoding).splitlines()]
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8 or UTF-16; save it as UTF-8 ({error})") from None


def subfolders(folder: Path) -> list[Path]:
    """List the folders in a folder, links to folders among them, in alphabetical order."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_left_behind(path.name))


def require_folder(folder: Path, advice: str) -> None:
    """Check that a folder is there, or else give advice, and say what there is instead."""
    if not folder.is_dir():
        there = [each.name for each in subfolders(folder.parent)] if folder.parent.is_dir() else []
        holds = f". {folder.parent} holds the folders {', '.join(there)}" if there else ""
        raise FileNotFoundError(f"{folder}: no such folder; {advice}{holds}")


def is_left_behind(name: str) -> bool:
    """Say of the name of a file or folder whether it is hidden, or a system's own."""
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def no_images(folder: Path) -> FileNotFoundError:
    """Make the error of a folder without images, which says what it holds instead."""
    others = sorted({Path(entry.name).suffix or entry.name for _, entries in _walk(folder) for entry in entries})
    holds = f"it holds {', '.join(others[:9])}" if others else "it is empty"
    return FileNotFoundError(f"folder {folder} holds no image; {holds}; known extensions: {' '.join(IMAGE_EXTENSIONS)}")


def _walk(
    folder: Path, inside: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
    """Give each folder with its entries, through links, but through none that leads to a folder around it."""
    status = folder.stat()
    if (here := (status.st_dev, status.st_ino)) in inside:
        return
    with os.scandir(folder) as found:
        entries = sorted((each for each in found if not is_left_behind(each.name)), key=lambda each: each.name)
    yield folder, entries
    for each in entries:
        if each.is_dir(follow_symlinks=False) or (each.is_symlink() and os.path.isdir(each)):
            yield from _walk(folder / each.name, inside | {here})


def _matches(pattern: Path) -> list[Path]:
    """Find what a pattern matches; `**` walks as all else does, where glob would follow a circle of links in depth."""
    if "**" not in pattern.parts:
        return list(map(Path, glob.glob(str(pattern))))
    place = pattern.parts.index("**")
    rest = Path(*pattern.parts[place + 1 :] or "*")
    bases = filter(Path.is_dir, map(Path, glob.glob(str(Path(*pattern.parts[:place])))))
    folders = [folder for base in bases for folder, _ in _walk(base)]
    return [path for folder in folders for path in _matches(Path(glob.escape(str(folder))) / rest)]


def _images_in(path: Path) -> list[Path]:
    if path.is_file() or (path.is_symlink() and not path.exists()):  # one that leads nowhere is told as it is read
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such file or folder; check the path (relative to {Path.cwd()})")
    if found := sorted(image_files(path), key=_natural_order):
        return found
    raise no_images(path)


def _natural_order(path: Path) -> list[tuple[object, str]]:
    return [(natural_key(part), part) for part in path.parts]  # names that count alike go by their letters
