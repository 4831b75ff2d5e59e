"""Paths as users write them, files written whole or not at all, JSON, natural order."""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpvit.errors import UserError


def located(path: str | Path) -> Path:
    """Give the path that a user means: `~` and `$VARIABLES` are expanded, unless there is one as it is written."""
    return Path(path if os.path.lexists(path) else os.path.expandvars(os.path.expanduser(path)))


def cache_folder() -> Path:
    """Return where fetched files are kept: ``$GPVIT_CACHE``, else ``~/.cache/gpvit``."""
    return Path(os.environ.get("GPVIT_CACHE") or "~/.cache/gpvit").expanduser()


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path, of the same name, to write to; what was written there then takes the path's place.

    Args:
        path: The file to write; its folder is made where it is missing, and an error leaves the old file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-", ignore_cleanup_errors=True) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        os.replace(temporary, path)


def write_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all; odd bytes of file names are written as escapes."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a UserError names one that is none."""
    try:
        return json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON, or is cut short: {error}") from error


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Give a key that sorts names as people do: `img2` before `img10`.

    Example:
        >>> sorted(["img10", "img2"], key=natural_key)
        ['img2', 'img10']
    """
    parts = re.split(r"(\d+)", text)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part)


def sha256(path: str | Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
