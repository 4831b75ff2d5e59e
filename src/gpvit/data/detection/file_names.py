"""Finds images by the file names of annotations, which may come from another system or another folder."""

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from unicodedata import normalize
from urllib.parse import unquote

from gpvit.errors import UserError

_SHOWN = 5


def find_files(folder: Path, names: Sequence[str]) -> list[Path]:
    """Find the file of each name below a folder of images.

    Where there is none of that very name, backslashes, URL codes, another Unicode form, another case of letters and
    leading folders are tried, those of the folder's own path first, and a warning says so.

    Raises:
        FileNotFoundError: Images are missing.
        UserError: Two names are of one file.
    """
    files: list[Path | None] = [path if (path := folder / name).is_file() else None for name in names]
    absent = [place for place, path in enumerate(files) if path is None]
    if not absent:
        return [path for path in files if path is not None]
    index: dict[str, list[Path]] = {}
    for top, _, found in os.walk(folder):
        for name in found:
            index.setdefault(_key(Path(top, name).relative_to(folder).as_posix()), []).append(Path(top, name))
    for place in absent:
        files[place] = next(_candidates(folder, names[place], index), None)
    if missing := [name for name, path in zip(names, files, strict=True) if path is None]:
        raise FileNotFoundError(
            f"{folder} lacks {len(missing)} of {len(names)} annotated images, {missing[:_SHOWN]} first; "
            "add them, or give the folder that the annotations' file names start from"
        )
    found_files = [path for path in files if path is not None]
    owners: dict[Path, str] = {}
    for name, path in zip(names, found_files, strict=True):
        if owners.setdefault(path, name) != name:
            raise UserError(f"{owners[path]!r} and {name!r} are both the file {path}; give each image its own name")
    first = absent[0]
    warnings.warn(
        f"{folder}: {len(absent)} of {len(names)} images are found under other names than annotated, such as "
        f"{found_files[first]} for {names[first]!r}",
        stacklevel=2,
    )
    return found_files


def _candidates(folder: Path, name: str, index: dict[str, list[Path]]) -> Iterator[Path]:
    """List the files that a name may stand for, the likeliest first."""
    plain = unquote(name.rpartition("?d=")[2].partition("?")[0]).replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if ".." not in parts:
        for root in (folder.parent, folder.parent.parent):
            if len(parts) > 1 and (path := root.joinpath(*parts)).is_file():
                yield path
    for start in range(len(parts)):
        matches = index.get(_key("/".join(parts[start:])), [])
        if len(matches) == 1:
            yield matches[0]


def _key(name: str) -> str:
    return normalize("NFC", name).casefold()
