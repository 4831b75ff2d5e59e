"""Where the samples of a shard lie: a tar file that holds an image (KEY.jpg) and its label (KEY.cls) for each."""

import os
import re
import tarfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from gpvit.errors import UserError

_FORMAT = 1  # of the index files; another number makes them anew
_MEMBER = re.compile(r"(?P<key>(?:.*/)?[^./]+)\.(?P<extension>[^/]*)")  # WebDataset's: up to the name's first dot
_OPEN_FILES = 16


class Member(NamedTuple):
    """A file inside a shard.

    Args:
        key: Its name up to the first dot; the files of one sample share it.
        extension: The rest of the name, in lower case, without that dot.
        header: Byte of the shard where its header begins.
        offset: Byte where its content begins.
        size: Bytes of its content.
    """

    key: str
    extension: str
    header: int
    offset: int
    size: int


def members(shard: Path) -> Iterator[Member]:
    """Read the headers of a shard from front to back.

    Raises:
        ValueError: It is no tar file, or compressed, or cut off.
    """
    remedy = "shards are uncompressed tar files; fetch it again, or write it again"
    try:
        with tarfile.open(shard, "r:") as opened:
            tar: Any = opened
            while (member := tar.next()) is not None:
                tar.members = []  # a list of all that were read, of no use here
                if member.isreg() and (name := _MEMBER.fullmatch(member.name)):
                    yield Member(name["key"], name["extension"].lower(), member.offset, member.offset_data, member.size)
            # tarfile takes a damaged header in the middle, or a cut there, for the end; the true end is a zero block
            tar.fileobj.seek(tar.offset)
            if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise UserError(f"{shard} is damaged or cut off at byte {tar.offset}; {remedy}")
    except tarfile.TarError as error:
        raise UserError(f"{shard} cannot be read ({error}); {remedy}") from error


def index_shard(shard: Path) -> np.ndarray:
    """Say where the samples of a shard lie and what their labels are.

    Reading all headers takes a while, so the index is kept beside the shard as NAME.idx, if the folder can be written
    to; it is made anew once the shard's size or time of change is another.

    Args:
        shard: A tar file.

    Returns:
        `(N, 4)`, int64: of each sample the byte where the image's header begins, the byte where the image begins, its
        size in bytes, and the label.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no whole tar file, or a sample lacks its image or label.
    """
    status = shard.stat()
    state = np.array([[_FORMAT, status.st_size, status.st_mtime_ns, 0]])
    beside = shard.with_suffix(".idx")
    try:
        known = np.load(beside, allow_pickle=False)
        if known.ndim == 2 and known.dtype == np.int64 and np.array_equal(known[:1], state):
            return known[1:]
    except (OSError, ValueError, EOFError):
        pass  # there is none, or it is damaged
    with shard.open("rb") as file:
        rows = [_row(shard, file, *sample) for sample in groupby(members(shard), key=lambda member: member.key)]
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    _store(beside, np.concatenate([state, table]))
    return table


def _row(shard: Path, file: IO[bytes], key: str, sample: Iterable[Member]) -> tuple[int, int, int, int]:
    files = {member.extension: member for member in sample}
    image = next((member for extension, member in files.items() if f".{extension}" in IMG_EXTENSIONS), None)
    label = files.get("cls")
    if image is None or label is None:
        lacking = "image (jpg, png, ...)" if image is None else "label (cls)"
        raise UserError(
            f"{shard}: sample {key} has no {lacking}, but only {', '.join(files)}; each sample is KEY.jpg and KEY.cls, "
            "one after the other"
        )
    text = _content(file, label.offset, label.size)
    try:
        return image.header, image.offset, image.size, int(text)
    except ValueError:
        raise UserError(f"{shard}: the label of sample {key} is {text[:20]!r}; KEY.cls holds a number, as 7") from None


def _store(path: Path, table: np.ndarray) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.save(file, table)
        os.replace(temporary, path)
    except OSError:  # a folder to read from only: the index is then made by every run
        temporary.unlink(missing_ok=True)


def _content(file: IO[bytes], offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


class ShardIndex:
    """The samples of several shards, each to be read at once, in any order.

    Args:
        shards: Tar files.

    Attributes:
        shards: As given.
        lengths: Samples of each shard.
        labels: `(N,)`, int64, the label of every sample.

    Raises:
        FileNotFoundError: A shard is missing.
        ValueError: A shard is damaged, or a sample lacks its image or label.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        tables = [index_shard(shard) for shard in shards]
        self.shards = tuple(shards)
        self.lengths = [len(table) for table in tables]
        self._table = np.concatenate(tables)
        self._ends = np.cumsum(self.lengths)
        self._files: OrderedDict[Path, IO[bytes]] = OrderedDict()
        self._process = os.getpid()

    def __len__(self) -> int:
        return len(self._table)

    @property
    def labels(self) -> np.ndarray:
        """The label of every sample."""
        return self._table[:, 3]

    def shard(self, index: int) -> Path:
        """Give the shard that holds a sample."""
        return self.shards[int(np.searchsorted(self._ends, index, side="right"))]

    def name(self, index: int) -> str:
        """Say what messages call a sample: its shard and its file there."""
        shard = self.shard(index)
        with tarfile.open(shard, "r:") as tar:
            file: Any = tar.fileobj
            file.seek(int(self._table[index, 0]))
            return f"{shard}: {tarfile.TarInfo.fromtarfile(tar).name}"

    def read(self, index: int) -> bytes:
        """Read the image of a sample, still encoded.

        Raises:
            OSError: The shard cannot be read, or is shorter than it was.
        """
        _, offset, size, _ = self._table[index].tolist()
        data = _content(self._open(self.shard(index)), offset, size)
        if len(data) < size:
            raise OSError(f"{self.shard(index)} is shorter than it was when it was indexed; fetch it again")
        return data

    def _open(self, shard: Path) -> IO[bytes]:
        """Open a shard, or find it open: an epoch moves back and forth between a few."""
        if self._process != os.getpid():  # a forked process shares its parent's position in every open file
            self._files, self._process = OrderedDict(), os.getpid()
        file = self._files.pop(shard, None)
        if file is None:
            file = shard.open("rb")
            if len(self._files) >= _OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        self._files[shard] = file
        return file

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": OrderedDict()}
