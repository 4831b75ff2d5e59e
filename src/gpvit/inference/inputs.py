"""Pictures to predict: files, or samples of shards."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from gpvit.data.classification.shards import INFO, ShardSamples, shard_samples
from gpvit.data.images import list_images


class Pictures:
    """Pictures by their place, each read when it is asked for.

    Args:
        inputs: Files, folders and patterns, as `gpvit.data.list_images` takes them; and folders of shards, which hold
            `_info.json`, give the pictures of all splits, and come first.

    Attributes:
        paths: Name of each picture: its file, or its shard and its file there.

    Raises:
        FileNotFoundError: A path does not exist, or holds no picture.
        ValueError: `inputs` is empty, or a shard is damaged.
    """

    def __init__(self, inputs: Sequence[str]) -> None:
        self.paths: list[Path] = []
        self._shards: list[tuple[int, ShardSamples]] = []  # each with the place of its first picture
        for entry in filter(_holds_shards, inputs):
            for samples in shard_samples(entry):
                self._shards.append((len(self.paths), samples))
                self.paths += [Path(samples.name(index)) for index in range(len(samples))]
        self._num_in_shards = len(self.paths)
        files = [entry for entry in inputs if not _holds_shards(entry)]
        if files or not inputs:
            self.paths += list_images(files)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Path | Image.Image:
        """Give a picture as `Predictor` takes it: the path of a file, or what a shard holds, read.

        Raises:
            ImageError: A picture in a shard is damaged.
        """
        if index >= self._num_in_shards:
            return self.paths[index]
        first, samples = next(entry for entry in reversed(self._shards) if entry[0] <= index)
        return samples.image(index - first)


def _holds_shards(entry: str) -> bool:
    return (Path(entry).expanduser() / INFO).is_file()
