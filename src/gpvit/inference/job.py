"""Predictions for many images in one folder: written by several processes, and continued after an interruption."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch

from gpvit.errors import UserError
from gpvit.io import replacing

_JOB = "job.json"


class Entry(NamedTuple):
    """Where the line of an image lies, and whether it holds a result or why there is none."""

    path: Path
    offset: int
    is_error: bool


class Job:
    """Predictions for a list of images, one JSON line for each, in files of the processes that made them.

    A process takes the images that its number and the number of processes give it, and appends each to its own file,
    `predictions-RANK.jsonl`, once all other files of the image are written. So whatever ends a process, what it wrote
    stays, and the next start leaves those images out, with as many processes as it likes.

    Args:
        folder: Where to; made if need be.
        settings: What the predictions depend on; plain data. A folder is continued with the same alone.
        sources: Names of the images, in order.

    Raises:
        ValueError: If the folder holds predictions of other images, or other settings.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any], sources: Sequence[str]) -> None:
        self.folder = Path(folder)
        self.sources = sources
        digest = hashlib.sha256("\n".join(sources).encode()).hexdigest()
        self._keep({**settings, "images": len(sources), "images_sha256": digest})

    def share(self, rank: int, world_size: int) -> list[int]:
        """List the images of one process that have no result yet, in order.

        The shares are drawn by chance, by the number of processes alone: every process knows its own without asking
        another, and they stay even if the next start has more processes or fewer.
        """
        drawn = torch.randperm(len(self.sources), generator=torch.Generator().manual_seed(world_size))
        done = {index for index, entry in self._entries().items() if not entry.is_error}
        return [index for index in sorted(drawn[rank::world_size].tolist()) if index not in done]

    @contextmanager
    def writer(self, rank: int) -> Iterator["Writer"]:
        """Open the file of a process to append to.

        Raises:
            ValueError: If another process writes there.
        """
        path = self.folder / f"predictions-{rank}.jsonl"
        with path.open("ab+") as file:
            _lock(file, path, shared=False)
            file.truncate(_whole(path))
            yield Writer(file)

    def require_idle(self) -> None:
        """Refuse if any process still writes here.

        Raises:
            ValueError: If one does.
        """
        for path in self._files():
            with path.open("rb") as file:
                _lock(file, path, shared=True)

    def missing(self) -> int:
        """Count the images that nothing is known of yet."""
        return len(self.sources) - len(self._entries())

    def lines(self) -> Iterator[dict[str, Any]]:
        """Read what was written of each image, in the order of the images, one at a time."""
        entries = self._entries()
        files = {path: path.open("rb") for path in {entry.path for entry in entries.values()}}
        try:
            for index in sorted(entries):
                file = files[entries[index].path]
                file.seek(entries[index].offset)
                yield json.loads(file.readline())
        finally:
            for file in files.values():
                file.close()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("predictions-*.jsonl"))

    def _entries(self) -> dict[int, Entry]:
        """Find the line of each image; a result counts more than an error of an earlier start."""
        entries: dict[int, Entry] = {}
        for path in self._files():
            with path.open("rb") as file:
                offset = 0
                for line in file:
                    if (content := _content(line)) is not None:
                        index, is_error = content["index"], "error" in content
                        if index not in entries or entries[index].is_error:
                            entries[index] = Entry(path, offset, is_error)
                    offset += len(line)
        return entries

    def _keep(self, settings: dict[str, Any]) -> None:
        path = self.folder / _JOB
        settings = json.loads(json.dumps(settings))
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            if others := [each.name for each in self.folder.iterdir() if not each.name.startswith(".saving-")]:
                raise UserError(f"{self.folder} holds {others[0]}, but no predictions to go on with; name a new folder")
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        before = json.loads(path.read_text(encoding="utf-8"))
        if before != settings:
            differing = ", ".join(
                sorted(k for k in before.keys() | settings.keys() if before.get(k) != settings.get(k))
            )
            raise UserError(
                f"{self.folder} holds predictions that differ in: {differing}; go on with the same as in {path}, or "
                "name a new folder"
            )


class Writer:
    """Appends lines, each of which is safe once `write` returns.

    Args:
        file: Opened to append bytes.
    """

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, index: int, **content: Any) -> None:
        """Append the line of an image."""
        line = json.dumps({"index": index, **content}, ensure_ascii=False) + "\n"
        self._file.write(line.encode())
        self._file.flush()
        os.fsync(self._file.fileno())


def _content(line: bytes) -> dict[str, Any] | None:
    """Read a line, unless it was being written when its process or the machine went down."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


def _lock(file: IO[bytes], path: Path, shared: bool) -> None:
    import fcntl  # not on Windows, where one device still predicts

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"another process still writes {path}: wait until it has ended, or end it, then start again"
        ) from None


def _whole(path: Path) -> int:
    """Count the bytes of a file up to the end of its last whole line."""
    content = path.read_bytes()
    return content.rfind(b"\n") + 1
