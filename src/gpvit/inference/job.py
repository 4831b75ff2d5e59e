"""A folder of predictions: written line by line by several processes, and resumed after an interruption."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from gpvit.data.detection.results import write_coco_results
from gpvit.errors import UserError
from gpvit.io import read_json, replacing, write_text

_SYNC_EVERY = 1.0  # seconds after which what was written is brought to the disk
Entry = tuple[Path, int, bool]
"""The file and offset of an image's line, and whether it says why there is no result."""


class Job:
    """Predictions for a list of images, one JSON line for each, in files of the processes that made them.

    A process takes the images that its rank and the number of processes give it, and appends each to its own file,
    `predictions-RANK.jsonl`, once all other files of the image are written. So whatever ends a process, what it wrote
    stays, and the next start leaves those images out, with any number of processes. If two starts predict an image at
    the same time, the first line counts. A folder is resumed with the same settings, plain data, and the same names of
    images alone; one that holds other files is refused.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any], sources: Sequence[str]) -> None:
        self.folder = Path(folder)
        self.sources = sources
        digest = hashlib.sha256("\n".join(sources).encode(errors="surrogateescape")).hexdigest()
        self._keep({**settings, "images": len(sources), "images_sha256": digest})

    def remaining(self, rank: int = 0, world_size: int = 1) -> list[int]:
        """List the images of one process that have no result yet, in order."""
        done = {index for index, (_, _, is_error) in self._entries().items() if not is_error}
        return [index for index in range(rank, len(self.sources), world_size) if index not in done]

    @contextmanager
    def writer(self, name: str | int) -> Iterator[Callable[[dict[str, Any]], None]]:
        """Open `predictions-NAME.jsonl` and give a function that appends the line of an image, a dict with its `index`.

        What was appended survives the end of the process at once, and the end of the machine after a second.
        """
        with (self.folder / f"predictions-{name}.jsonl").open("ab", buffering=0) as file:
            if file.tell():
                file.write(b"\n")  # ends a line that was cut off
            synced = time.monotonic()

            def write(line: dict[str, Any]) -> None:
                nonlocal synced
                file.write(json.dumps(line, ensure_ascii=False).encode(errors="backslashreplace") + b"\n")
                if time.monotonic() > synced + _SYNC_EVERY:
                    os.fsync(file.fileno())
                    synced = time.monotonic()

            try:
                yield write
            finally:
                os.fsync(file.fileno())

    def missing(self) -> int:
        """Count the images that nothing is known of yet."""
        return len(self.sources) - len(self._entries())

    def merge(self, coco: str | None = None) -> tuple[int, int]:
        """Merge all results, in order, and count the images that have one and that have none."""
        counts, objects, entries = [0, 0], [], self._entries()
        with ExitStack() as opened:
            files = {path: opened.enter_context(path.open("rb")) for path in {entry[0] for entry in entries.values()}}
            merged = opened.enter_context(replacing(self.folder / "predictions.jsonl"))
            output = opened.enter_context(merged.open("w", encoding="utf-8", errors="backslashreplace"))
            for _, (path, offset, is_error) in sorted(entries.items()):
                files[path].seek(offset)
                line = json.loads(files[path].readline())
                counts[is_error] += 1
                if not is_error:
                    output.write(json.dumps(line["facts"], ensure_ascii=False) + "\n")
                objects += line.get("objects", ())
        if coco is not None:
            write_coco_results(objects, coco)
        return counts[0], counts[1]

    def _entries(self) -> dict[int, Entry]:
        """Find the line of each image; a result counts more than an error of an earlier start."""
        entries: dict[int, Entry] = {}
        for path in sorted(self.folder.glob("predictions-*.jsonl")):
            with path.open("rb") as file:
                offset = 0
                for line in file:
                    if (content := _content(line, len(self.sources))) is not None:
                        index, is_error = content["index"], "error" in content
                        if index not in entries or (entries[index][2] and not is_error):
                            entries[index] = (path, offset, is_error)
                    offset += len(line)
        return entries

    def _keep(self, settings: dict[str, Any]) -> None:
        """Write the settings, if they are the first here, or else require that they are those of before."""
        path, settings = self.folder / "job.json", json.loads(json.dumps(settings))
        if not path.is_file():
            others = [each.name for each in self.folder.glob("*") if not each.name.startswith(".saving-")]
            if others and not path.is_file():  # another process may have begun meanwhile
                raise UserError(f"{self.folder} holds {others[0]}, but no predictions to resume; name a new folder")
            write_text(path, json.dumps(settings, indent=1) + "\n")
        if not isinstance(before := read_json(path), dict):
            raise UserError(f"{path} holds {before!r:.100}, no settings; name a new folder")
        names = sorted(name for name in before.keys() | settings.keys() if before.get(name) != settings.get(name))
        if names:
            raise UserError(
                f"{self.folder} holds predictions that differ in: {', '.join(names)}; give the same as in {path}, or "
                "name a new folder"
            )


def _content(line: bytes, images: int) -> dict[str, Any] | None:
    """Read a line about one of so many images, unless it was being written when its process went down."""
    try:
        content = json.loads(line) if line.endswith(b"\n") else {}
        is_whole = content["index"] in range(images) and ("error" in content or isinstance(content["facts"], dict))
        return content if is_whole and isinstance(content.get("objects", []), list) else None
    except (ValueError, LookupError, TypeError):
        return None
