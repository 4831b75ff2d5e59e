"""The verb `gpvit shards`."""

import sys

from gpvit.data.write_shards import write_shards


def shards(dataset: str, out: str, images_per_shard: int = 1000, seed: int = 0, max_damaged: int = 0) -> None:
    """Write a dataset of classes into WebDataset shards: a few large tar files for training at scale.

    An interrupted call is repeated as it was: shards that are there are kept.

    Args:
        dataset: A folder with images in SPLIT/CLASS/, such as train/cat/ and val/cat/, or `digits`; `val` is called
            `validation` in the shards.
        out: Folder to write to; new, or that of an interrupted call.
        images_per_shard: Images of a shard.
        seed: What the order of the images is drawn from.
        max_damaged: How many images that cannot be read may be left out; each is named.
    """
    written = write_shards(dataset, out, images_per_shard, seed, max_damaged, progress=sys.stderr.isatty())
    for message in written.damaged:
        print(f"left out: {message}", file=sys.stderr)
    for split, entry in written.splits.items():
        print(f"{split}: {entry['num_samples']:,} images in {len(entry['filenames']):,} shards")
    shards = sum(len(entry["filenames"]) for entry in written.splits.values())
    print(f"{out}: {written.kept:,} of {shards:,} shards were there" if written.kept else out)
