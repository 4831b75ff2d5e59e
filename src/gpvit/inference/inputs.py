"""Lists the images to predict: files, and samples of shards."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec

from gpvit.data.files import IMAGE_EXTENSIONS, is_left_behind, list_images
from gpvit.io import located, natural_key
from gpvit.runtime.images import ImageSource, decode_image


class Images:
    """Images by number, each found when it is asked for.

    First come those of folders of shards, which hold `_info.json`, of all splits; then files, folders and patterns, as
    `gpvit.data.list_images` takes them; and last, addresses of files, folders and patterns that fsspec knows, such as
    `s3://bucket/photos`. The names are those of files, of shards with the file there, and addresses.
    """

    def __init__(self, inputs: Sequence[str]) -> None:
        self.names: list[str] = []
        self._shards: list[tuple[int, Any]] = []  # the samples of a split, each with the number of its first image
        for folder in filter(_holds_shards, inputs):
            from gpvit.data.classification.shards import shard_samples  # loads what training needs

            for samples in shard_samples(folder):
                self._shards.append((len(self.names), samples))
                self.names += [samples.name(index) for index in range(len(samples))]
        self._num_in_shards = len(self.names)
        files = [entry for entry in inputs if not _holds_shards(entry) and "://" not in entry]
        if files or not inputs:
            self.names += map(str, list_images(files))
        self.names += [name for entry in inputs if "://" in entry for name in _list_remote(entry)]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> ImageSource:
        """Return an image as `Predictor` takes it: the path of a file, or else the decoded image."""
        if index < self._num_in_shards:
            first, samples = next(entry for entry in reversed(self._shards) if entry[0] <= index)
            return samples.image(index - first)
        if "://" in (name := self.names[index]):
            with fsspec.open(name) as file:
                return decode_image(file.read(), name)
        return name

    def image_ids(self) -> list[int]:
        """Number the images as their files' names do, if all are different numbers, or else from 1."""
        stems = [Path(name).stem for name in self.names]
        if all(stem.isascii() and stem.isdigit() for stem in stems) and len(set(map(int, stems))) == len(stems):
            return [int(stem) for stem in stems]
        return list(range(1, len(stems) + 1))


def image_names(sources: Sequence[str | Path], suffix: str) -> list[str]:
    """Name a PNG for each image file: its name with a suffix, and a number where several files share one.

    Example:
        >>> image_names(["a/cat.jpg", "b/cat.png", "dog.jpg"], "_groups")
        ['cat_groups.png', 'cat_groups-2.png', 'dog_groups.png']
    """
    seen: Counter[str] = Counter()
    names = []
    for source in sources:
        stem = Path(source).stem
        seen[stem.lower()] += 1  # some file systems take Cat and cat for one
        names.append(f"{stem}{suffix}{f'-{count}' if (count := seen[stem.lower()]) > 1 else ''}.png")
    return names


def _list_remote(address: str) -> list[str]:
    """List the image at an address, or those below it, or those that it matches as a pattern."""
    system, path = fsspec.url_to_fs(address)
    below = system.find(path) if system.isdir(path) else system.glob(path)
    names = [name for name in below if not any(map(is_left_behind, name.removeprefix(path).split("/")))]
    found = [system.unstrip_protocol(name) for name in names if name.lower().endswith(IMAGE_EXTENSIONS)]
    if not found:
        raise FileNotFoundError(f"{address} holds no image; known extensions: {' '.join(IMAGE_EXTENSIONS)}")
    return sorted(found, key=natural_key)


def _holds_shards(entry: str) -> bool:
    return (located(entry) / "_info.json").is_file()
