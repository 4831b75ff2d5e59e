"""Writes shards that `Shards` and other readers of WebDataset read, and goes on where it was interrupted."""

import errno
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from gpvit.data.classification.shard_index import index_shard, members
from gpvit.data.classification.shards import INFO
from gpvit.data.images import ImageError, decode_image
from gpvit.data.shard_source import ImageSource, Item, image_source
from gpvit.errors import UserError

SOURCE = "_source.json"
"""Tells what the shards beside it are made from, so that no others are mixed with them."""

_OVERHEAD = 4 * tarfile.BLOCKSIZE  # of a sample: two headers, the label, and at most a block of padding


@dataclass(frozen=True)
class Written:
    """What `write_shards` did.

    Args:
        images: Images in the shards of each split.
        shards: Shards of each split.
        kept: How many of all shards were whole already.
        damaged: Images that were left out in this call, and why.
    """

    images: dict[str, int]
    shards: dict[str, int]
    kept: int
    damaged: list[str]


class _Shard(NamedTuple):
    split: str
    path: Path
    items: list[Item]


def write_shards(
    dataset: str | Path,
    out: str | Path,
    images_per_shard: int | None = None,
    megabytes_per_shard: float | None = None,
    seed: int = 0,
    max_damaged: int = 0,
    num_threads: int = 4,
    progress: bool = False,
) -> Written:
    """Write the images of a data set into shards, in random order, with the `_info.json` that describes them.

    The bytes of an image are copied as they are, once they are known to decode. Each shard is written under a
    temporary name and renamed, so that one which is there is whole: a second call keeps it. `_info.json` comes last.

    Args:
        dataset: A folder with `SPLIT/CLASS/` folders of images, or `digits`.
        out: Folder to write to; new, empty, or that of an interrupted call with the same data set and settings.
        images_per_shard: Images of a shard, 1000 if neither size is given; the last one of a split holds the rest.
        megabytes_per_shard: Largest size of a shard in 10^6 bytes, in place of a number of images.
        seed: What the order is drawn from; the same gives the same shards, byte for byte.
        max_damaged: How many images that cannot be read may be left out.
        num_threads: Images that are checked at once.
        progress: Show a progress bar, on stderr.

    Raises:
        FileNotFoundError: There is no such data set, or no image in it.
        ImageError: More than `max_damaged` images cannot be read; the last one is named.
        OSError: `out` cannot be written to, or there is no space left.
        ValueError: A setting is wrong, or `out` holds something else.
    """
    if images_per_shard is not None and megabytes_per_shard is not None:
        raise UserError("images per shard and megabytes per shard exclude each other: choose one")
    sizes = [size for size in (images_per_shard, megabytes_per_shard) if size is not None]
    if min([*sizes, num_threads]) <= 0 or min(seed, max_damaged) < 0:
        raise UserError(
            f"images per shard {images_per_shard}, megabytes per shard {megabytes_per_shard} and threads {num_threads} "
            f"must be above 0, seed {seed} and most damaged images {max_damaged} 0 or more"
        )
    source, out = image_source(dataset), Path(out).expanduser()
    if str(dataset) != "digits" and out.resolve().is_relative_to(Path(dataset).expanduser().resolve()):
        raise UserError(f"{out} lies inside the data set {dataset}; give a folder beside it")
    if megabytes_per_shard is None and images_per_shard is None:
        images_per_shard = 1000
    _claim(out, source, {"images": images_per_shard, "megabytes": megabytes_per_shard, "seed": seed})
    plan = [
        _Shard(split, out / f"{split}-{number:04}.tar", items)
        for split, images in source.splits.items()
        for number, items in enumerate(_cut(_shuffled(images, seed), images_per_shard, megabytes_per_shard))
    ]
    return _Writer(out, max_damaged, num_threads).write(plan, source.class_names, progress)


def _shuffled(items: list[Item], seed: int) -> list[Item]:
    return [items[index] for index in np.random.default_rng(seed).permutation(len(items))]


def _cut(items: list[Item], images: int | None, megabytes: float | None) -> Iterator[list[Item]]:
    """Cut a list so that no part has too many items or bytes; an item that is too large is alone."""
    part: list[Item] = []
    size = 0
    for item in items:
        full = len(part) >= images if images else size + item.size + _OVERHEAD > 1e6 * (megabytes or 0)
        if part and full:
            yield part
            part, size = [], 0
        part.append(item)
        size += item.size + _OVERHEAD
    yield part


def _claim(out: Path, source: ImageSource, settings: dict[str, Any]) -> None:
    """Make the folder, or check that the one that is there belongs to this data set and these settings."""
    wanted: dict[str, Any] = {f"{name} per shard" if name != "seed" else name: v for name, v in settings.items()}
    wanted["class names"] = list(source.class_names)
    wanted |= {f"hash of {split}": digest for split, digest in source.digests().items()}
    path = out / SOURCE
    if path.is_file():
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{path} is not valid JSON ({error}); remove {out}, or give another folder") from error
        if differing := sorted(key for key in wanted | there if wanted.get(key) != there.get(key)):
            said = ", ".join(
                f"{key} ({_short(there.get(key))} there, {_short(wanted.get(key))} now)" for key in differing
            )
            raise UserError(
                f"{out} holds shards of another data set or of other settings: {said}. "
                "Repeat that call, remove the folder, or give another one"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already, and holds no shards that this command began; give a new folder")
    out.mkdir(parents=True, exist_ok=True)
    _write_json(path, wanted)


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) < 40 else f"{text[:36]}..."


class _Writer:
    """Writes planned shards that are not there yet.

    Args:
        out: Folder to write to.
        max_damaged: How many images may be left out.
        num_threads: Images that are checked at once.
    """

    def __init__(self, out: Path, max_damaged: int, num_threads: int) -> None:
        self.out = out
        self.max_damaged = max_damaged
        self.num_threads = num_threads
        self.left_out = 0
        self.damaged: list[str] = []

    def write(self, plan: list[_Shard], class_names: Sequence[str], progress: bool) -> Written:
        """Write what is lacking, then the file that describes all."""
        counts = {shard.path: count for shard in plan if (count := _whole(shard)) is not None}
        kept = len(counts)
        self._check_kept(sum(len(shard.items) - counts.get(shard.path, len(shard.items)) for shard in plan))
        self._check_space([shard for shard in plan if shard.path not in counts])
        columns = (*Progress.get_default_columns(), MofNCompleteColumn())
        with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
            task = bar.add_task("", total=sum(len(shard.items) for shard in plan))
            for shard in plan:
                bar.update(task, description=shard.path.name)
                if shard.path not in counts:
                    counts[shard.path] = self._write(shard, partial(bar.advance, task))
                else:
                    bar.advance(task, len(shard.items))
                index_shard(shard.path)  # leaves the index for the readers
        for leftover in self.out.glob(".*.tar.*"):  # of calls that were killed
            leftover.unlink(missing_ok=True)
        return self._describe(plan, class_names, counts, kept)

    def _write(self, shard: _Shard, advance: Callable[[], None]) -> int:
        """Write one shard, and give the number of its images."""
        temporary = shard.path.with_name(f".{shard.path.name}.{os.getpid()}")
        count = 0
        try:
            with temporary.open("wb") as file:
                with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
                    for item, content in self._contents(shard.items):
                        advance()
                        if content is None:
                            continue
                        _add(tar, f"{item.key}.{item.extension}", content)
                        _add(tar, f"{item.key}.cls", str(item.label).encode())
                        count += 1
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, shard.path)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(
                    f"no space left in {self.out} for {shard.path.name}; make some and repeat the call, which keeps "
                    "the shards that are there"
                ) from error
            raise
        finally:
            temporary.unlink(missing_ok=True)
        return count

    def _contents(self, items: list[Item]) -> Iterator[tuple[Item, bytes | None]]:
        """Read images in their order, several at once; None stands for one that cannot be decoded."""
        with ThreadPoolExecutor(self.num_threads) as pool:
            step = 4 * self.num_threads  # no more are held in memory
            for first in range(0, len(items), step):
                some = items[first : first + step]
                for item, content in zip(some, pool.map(_checked, some), strict=True):
                    if isinstance(content, ImageError):
                        self._leave_out(content)
                    yield item, content if isinstance(content, bytes) else None

    def _leave_out(self, error: ImageError) -> None:
        self.left_out += 1
        self.damaged.append(str(error))
        if self.left_out > self.max_damaged:
            others = f"\n{self.left_out - 1} damaged images were left out before it" if self.left_out > 1 else ""
            raise ImageError(
                f"{error}{others}\nRepair the file, or allow more than {self.max_damaged} damaged images "
                "(--max-damaged) to be left out, and repeat the call, which keeps the shards that are there"
            )

    def _check_kept(self, left_out: int) -> None:
        self.left_out = left_out
        if left_out > self.max_damaged:
            raise ImageError(
                f"in the shards of {self.out} that are there, {left_out} damaged images were left out; "
                f"allow as many again (--max-damaged {left_out}), or remove the folder"
            )

    def _check_space(self, lacking: list[_Shard]) -> None:
        needed = sum(item.size + _OVERHEAD for shard in lacking for item in shard.items)
        free = shutil.disk_usage(self.out).free
        if needed > free:
            raise OSError(
                f"{self.out}: the shards to be written need {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; "
                "make space, or give a folder on another disk"
            )

    def _describe(self, plan: list[_Shard], class_names: Sequence[str], counts: dict[Path, int], kept: int) -> Written:
        splits: dict[str, Any] = {}
        for shard in plan:
            entry = splits.setdefault(
                shard.split, {"name": shard.split, "num_samples": 0, "filenames": [], "shard_lengths": []}
            )
            entry["num_samples"] += counts[shard.path]
            entry["filenames"].append(shard.path.name)
            entry["shard_lengths"].append(counts[shard.path])
        _write_json(self.out / INFO, {"class_names": list(class_names), "splits": splits})
        images = {split: entry["num_samples"] for split, entry in splits.items()}
        return Written(images, {split: len(splits[split]["filenames"]) for split in splits}, kept, self.damaged)


def _whole(shard: _Shard) -> int | None:
    """Count the images of a shard that is there and as planned, but for damaged images; None if it must be written."""
    if not shard.path.is_file():
        return None
    try:
        there = [(member.key, member.extension, member.size) for member in members(shard.path)]
    except ValueError:
        return None
    planned: list[tuple[str, str, int]] = []
    for item in shard.items:
        planned += [(item.key, item.extension, item.size), (item.key, "cls", len(str(item.label)))]
    rest = iter(planned)
    return len(there) // 2 if all(entry in rest for entry in there) else None


def _checked(item: Item) -> bytes | ImageError:
    content = item.read()
    try:
        decode_image(content, item.name)
    except ImageError as error:
        return error
    return content


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # without owner and time: the same images give the same bytes
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _write_json(path: Path, value: Any) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)
