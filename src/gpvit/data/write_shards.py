"""Writes images into WebDataset shards that `Shards` and other tools read; a repeated call continues."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from gpvit.data.classification.folders import class_files, same_classes
from gpvit.data.classification.shard_index import index_shard
from gpvit.data.classification.shards import INFO
from gpvit.data.files import require_folder, subfolders
from gpvit.data.synthetic.digits import digits_split
from gpvit.errors import UserError
from gpvit.io import located, read_json, replacing, write_text
from gpvit.runtime.images import ImageError, decode_image

SOURCE = "_source.json"
"""Tells what the shards beside it are made from, so that no others are mixed with them."""

_THREADS = 8  # images that are decoded at once


class Written(NamedTuple):
    """What `write_shards` did: the splits as `_info.json` has them, shards that were there, images left out and why."""

    splits: dict[str, dict[str, Any]]
    kept: int
    damaged: list[str]


class _Item(NamedTuple):
    """An image to be written: the name of its files in the shard, its extension, its file or content, its label."""

    key: str
    extension: str
    source: Path | bytes
    label: int


def write_shards(
    dataset: str | Path,
    out: str | Path,
    images_per_shard: int = 1000,
    seed: int = 0,
    max_damaged: int = 0,
    progress: bool = False,
) -> Written:
    """Write the images of a dataset into shards, in random order, with the `_info.json` that describes them.

    The bytes of an image are copied as they are, once they are known to decode. A shard appears under its name when it
    is whole, and a second call keeps it. `_info.json` comes last. The command `gpvit shards` explains the arguments;
    `progress` shows a bar on stderr.

    Raises:
        FileNotFoundError: There is no such dataset, or no image in it.
        ImageError: More than `max_damaged` images cannot be read; the last one is named.
        OSError: `out` cannot be written to, or there is no space left.
        UserError: A setting is wrong, or `out` holds something else.
    """
    if images_per_shard < 1 or min(seed, max_damaged) < 0:
        given = f"images per shard {images_per_shard}, seed {seed} and most damaged images {max_damaged}"
        raise UserError(f"{given}: give at least 1, 0 and 0")
    out, is_digits, root = located(out), str(dataset) == "digits", located(dataset)
    if not is_digits and out.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{out} lies inside the dataset {dataset}; give a folder beside it")
    class_names, images = _digits() if is_digits else _folders(root)
    listing = repr([(split, item.key, item.extension, item.label) for split in images for item in images[split]])
    source = {"images per shard": images_per_shard, "seed": seed, "class names": class_names}
    _claim(out, {**source, "hash of the images' names": hashlib.sha256(listing.encode()).hexdigest()[:16]})

    planned = []
    for split, items in images.items():
        order = np.random.default_rng(seed).permutation(len(items))
        parts = np.split(order, range(images_per_shard, len(order), images_per_shard))
        planned += [(split, number, [items[index] for index in part]) for number, part in enumerate(parts)]
    splits: dict[str, dict[str, Any]] = {}
    damaged: list[str] = []
    kept = left_out = 0
    for split, number, items in track(planned, "shards", console=Console(stderr=True), disable=not progress):
        shard = out / f"{split}-{number:04}.tar"
        length = None
        with suppress(FileNotFoundError, UserError):  # there is none, or it is not whole
            length = len(index_shard(shard))
        if length is not None:
            kept, left_out = kept + 1, left_out + len(items) - length
            _check_number(left_out, max_damaged, f"{shard}, which is there, lacks damaged images")
        else:
            with replacing(shard) as path, tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
                for item, content in _contents(items):
                    if isinstance(content, ImageError):
                        damaged.append(str(content))
                        left_out += 1
                        _check_number(left_out, max_damaged, damaged[-1])
                    else:
                        _add(tar, f"{item.key}.{item.extension}", content)
                        _add(tar, f"{item.key}.cls", str(item.label).encode())
            length = len(index_shard(shard))  # leaves the index for the readers
        entry = splits.setdefault(split, {"name": split, "num_samples": 0, "filenames": [], "shard_lengths": []})
        entry["num_samples"] += length
        entry["filenames"].append(shard.name)
        entry["shard_lengths"].append(length)
    write_text(out / INFO, json.dumps({"class_names": class_names, "splits": splits}, indent=1) + "\n")
    return Written(splits, kept, damaged)


def _folders(root: Path) -> tuple[list[str], dict[str, list[_Item]]]:
    """Find the class names and the images of each split of a folder."""
    layout = "images belong into DATASET/SPLIT/CLASS/, such as train/cat/"
    require_folder(root, layout)
    if not (folders := subfolders(root)):
        raise FileNotFoundError(f"{root} holds no folder; {layout}")
    class_names = same_classes(root, folders)
    splits: dict[str, list[_Item]] = {}
    for folder in folders:
        items = splits["validation" if folder.name == "val" else folder.name] = []
        for number, (name, label) in enumerate(files := class_files(folder)):
            path = Path(name)
            # The number makes keys unique, and a dot would end the key; the rest is for people who look for the file.
            key = f"{number:0{len(str(len(files)))}}_{path.stem.replace('.', '_')}"
            items.append(_Item(key, path.suffix[1:].lower(), path, label))
    return class_names, splits


def _digits() -> tuple[list[str], dict[str, list[_Item]]]:
    splits: dict[str, list[_Item]] = {"train": [], "validation": []}
    for items, split in zip(splits.values(), ("train", "test"), strict=True):
        for number, (pixels, label) in enumerate(zip(*digits_split(split), strict=True)):  # type: ignore[arg-type]
            Image.fromarray(pixels).save(buffer := io.BytesIO(), "PNG")
            items.append(_Item(f"{number:04}_digit{label}", "png", buffer.getvalue(), int(label)))
    return list("0123456789"), splits


def _claim(out: Path, wanted: dict[str, Any]) -> None:
    """Make the folder, or check that the one that is there belongs to this dataset and these settings."""
    path = out / SOURCE
    if not path.is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"{out} is there already, and holds no shards that this command began; give a new folder")
        write_text(path, json.dumps(wanted, indent=1) + "\n")
        return
    there = known if isinstance(known := read_json(path), dict) else {}
    if differing := [key for key in wanted if wanted[key] != there.get(key)]:
        said = ", ".join(f"{key} ({there.get(key)!s:.36} there, {wanted[key]!s:.36} now)" for key in differing)
        raise UserError(f"{out} holds other shards: {said}; repeat that call, or give another folder")


def _contents(items: list[_Item]) -> Iterator[tuple[_Item, bytes | ImageError]]:
    """Read images in their order, a few at once, and decode them to see whether they are whole."""
    with ThreadPoolExecutor(_THREADS) as pool:
        for first in range(0, len(items), 4 * _THREADS):  # no more are held in memory
            some = items[first : first + 4 * _THREADS]
            yield from zip(some, pool.map(_content, some), strict=True)


def _content(item: _Item) -> bytes | ImageError:
    content = item.source if isinstance(item.source, bytes) else item.source.read_bytes()
    try:
        decode_image(content, item.key if isinstance(item.source, bytes) else str(item.source))
    except ImageError as error:
        return error
    return content


def _check_number(left_out: int, limit: int, latest: str) -> None:
    if left_out > limit:
        raise ImageError(
            f"{latest}\nWith that, {left_out} damaged images would be left out. Repair the file, or allow so many "
            f"(--max-damaged {left_out}), and repeat the call, which keeps the shards that are there"
        )


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # without owner and time: the same images give the same bytes
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
