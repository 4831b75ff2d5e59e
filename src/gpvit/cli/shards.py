"""The verb `gpvit shards`."""

import sys

from gpvit.data.write_shards import write_shards


def shards(
    dataset: str,
    out: str,
    images_per_shard: int | None = None,
    megabytes_per_shard: float | None = None,
    seed: int = 0,
    max_damaged: int = 0,
    num_threads: int = 4,
) -> None:
    """Write a data set of classes into WebDataset shards: a few large tar files for training at scale.

    An interrupted call is repeated as it was: shards that are there are kept.

    Args:
        dataset: A folder with images in SPLIT/CLASS/, as train/cat/ and val/cat/, or `digits`; `val` is called
            `validation` in the shards.
        out: Folder to write to; new, or that of an interrupted call.
        images_per_shard: Images of a shard; 1000 if neither size is given.
        megabytes_per_shard: Largest size of a shard, in place of a number of images.
        seed: What the order of the images is drawn from.
        max_damaged: How many images that cannot be read may be left out; each is named.
        num_threads: Images that are decoded at once, to see whether they are whole.
    """
    progress = sys.stderr.isatty()
    written = write_shards(
        dataset, out, images_per_shard, megabytes_per_shard, seed, max_damaged, num_threads, progress
    )
    for message in written.damaged:
        print(f"left out: {message}", file=sys.stderr)
    for split, images in written.images.items():
        print(f"{split}: {images:,} images in {written.shards[split]:,} shards")
    print(
        f"{out}" + (f": {written.kept:,} of {sum(written.shards.values()):,} shards were there" if written.kept else "")
    )
