"""Samples of WebDataset shards by their number: tar files with an image (KEY.jpg) and a label (KEY.cls) for each."""

import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from gpvit.data.classification.remote_folder import RemoteFolder
from gpvit.data.files import IMAGE_EXTENSIONS
from gpvit.errors import UserError
from gpvit.io import replacing
from gpvit.runtime.images import decode_image

_FORMAT = 2  # of the index files; another number makes them anew
_MEMBER = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)")  # WebDataset's key and extension: up to the name's first dot
_OPEN_FILES = 16
_Member = tuple[str, str, tarfile.TarInfo]  # key, extension in lower case, header


def index_shard(shard: Path, remote: RemoteFolder | None = None) -> np.ndarray:
    """Give, for each sample of a shard, `offset` and `size` of its image in bytes, its `label`, and `name`, in UTF-8.

    Reading all headers takes a while, so the index is kept beside the shard as NAME.idx, if the folder can be written
    to; it is made anew once the shard is another, by size or time of change. A shard of a remote folder is fetched for
    it once.
    """
    state = np.array([_FORMAT, *(remote.state(shard) if remote else _state(shard))])
    beside = shard.with_suffix(".idx")
    with suppress(Exception), np.load(beside, allow_pickle=False) as known:  # whatever is wrong with it, make it anew
        if np.array_equal(known["state"], state):
            return known["samples"]
    with (remote.fetch(shard, anew=True) if remote else shard).open("rb") as file:
        rows = [_row(shard, file, *sample) for sample in groupby(_members(shard), key=lambda member: member[0])]
    name_bytes = max((len(row[3]) for row in rows), default=1)
    fields = [("offset", np.int64), ("size", np.int64), ("label", np.int64), ("name", f"S{name_bytes}")]
    samples = np.array(rows, dtype=fields)
    with suppress(OSError), replacing(beside) as path, path.open("wb") as file:  # in a read-only folder, do without
        np.savez(file, state=state, samples=samples)
    return samples


def _state(shard: Path) -> tuple[int, int]:
    status = shard.stat()
    return status.st_size, status.st_mtime_ns


def _members(shard: Path) -> Iterator[_Member]:
    """Read the headers of a shard from front to back."""
    remedy = "shards are uncompressed tar files; fetch it again, or write it again"
    try:
        with shard.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isreg() and (name := _MEMBER.fullmatch(member.name)):
                    yield name[1], name[2].lower(), member
            # tarfile takes a damaged header in the middle, or a cut there, for the end; the true end is a zero block
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise UserError(f"{shard} is damaged or cut off at byte {tar.offset}; {remedy}")
    except tarfile.TarError as error:
        raise UserError(f"{shard} cannot be read ({error}); {remedy}") from error


def _row(shard: Path, file: IO[bytes], key: str, members: Iterable[_Member]) -> tuple[int, int, int, bytes]:
    files = {extension: member for _, extension, member in members}
    image = next((member for extension, member in files.items() if f".{extension}" in IMAGE_EXTENSIONS), None)
    label = files.get("cls")
    if image is None or label is None:
        lacking = "image (jpg, png, ...)" if image is None else "label (cls)"
        raise UserError(f"{shard}: sample {key} has no {lacking}, but only {', '.join(files)}; it needs both in a row")
    file.seek(label.offset_data)
    text, name = file.read(label.size), image.name.encode(errors="surrogateescape")
    try:
        return image.offset_data, image.size, int(text), name
    except ValueError:
        raise UserError(f"{shard}: the label of sample {key} is {text[:20]!r}; KEY.cls holds a number, as 7") from None


class ShardSamples(Dataset[tuple[Any, int]]):
    """Images and labels of shards, each sample to be read at once, in any order; `lengths` are those of the shards.

    Shards of a `remote` folder are its local files, fetched when a sample of them is read.
    """

    def __init__(
        self, shards: Sequence[Path], transform: Callable[[Image.Image], Any], remote: RemoteFolder | None = None
    ) -> None:
        indices = [index_shard(shard, remote) for shard in shards]
        self.shards = tuple(shards)
        self.remote = remote
        self.transform = transform
        self.lengths = [len(index) for index in indices]
        self._samples = np.concatenate(indices)
        self.labels = self._samples["label"]
        self._ends = np.cumsum(self.lengths)
        self._files: dict[tuple[Path, int], IO[bytes]] = {}

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(self.image(index)), int(self.labels[index])

    def name(self, index: int) -> str:
        """Say what messages call a sample: its shard and its file there."""
        return f"{self._shard(index)}: {self._samples['name'][index].decode(errors='replace')}"

    def image(self, index: int) -> Image.Image:
        """Read the image of a sample as 8-bit RGB."""
        return decode_image(self.read(index), self.name(index))

    def read(self, index: int) -> bytes:
        """Read the image of a sample, still encoded."""
        shard, size = self._shard(index), int(self._samples["size"][index])
        key = shard, os.getpid()  # a forked process shares its parent's position in every open file
        if key not in self._files:  # an epoch moves back and forth between a few shards
            if len(self._files) >= _OPEN_FILES:
                self._files.pop(next(iter(self._files))).close()
            self._files[key] = self.remote.open(shard) if self.remote else shard.open("rb")
        self._files[key].seek(int(self._samples["offset"][index]))
        data = self._files[key].read(size)
        if len(data) < size:
            raise OSError(f"{shard} is shorter than it was when it was indexed; fetch it again")
        return data

    def expect(self, indices: Iterable[int]) -> None:
        """Say that samples are about to be read, so that their shards, if they are remote, are fetched meanwhile."""
        if self.remote:
            self.remote.expect(dict.fromkeys(map(self._shard, indices)))

    def _shard(self, index: int) -> Path:
        return self.shards[int(np.searchsorted(self._ends, index, side="right"))]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}
