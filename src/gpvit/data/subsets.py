"""Subsets of a training split for learning from few images, alike on every machine.

Each function takes the beginning of an order that depends on the seed alone, so that a larger subset of the same seed
holds every smaller one: scores of 1, 5 and 10 images compare. All return the places of the images, ascending.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import torch

from gpvit.errors import UserError

_SHOWN = 5  # classes in a message


def per_class_subset(
    labels: Sequence[int] | np.ndarray, class_names: Sequence[str], count: int | None, seed: int = 0
) -> list[int]:
    """Choose so many images of each class at random; all of a class that has no more, and a warning names it.

    A count of None chooses all images.
    """
    if count is None:
        return list(range(len(labels)))
    if count < 1:
        raise UserError(f"per_class {count}: give 1 image or more of each class, or null for all")
    known = torch.as_tensor(labels)
    chosen, short = [], []
    for label, name in enumerate(class_names):
        members = (known == label).nonzero().flatten()
        chosen += members[_order(len(members), seed, label)[:count]].tolist()
        if len(members) < count:
            short.append(f"{name} ({len(members)})")
    if short:
        more = f" and {len(short) - _SHOWN} more" if len(short) > _SHOWN else ""
        warnings.warn(
            f"per_class {count}: {', '.join(short[:_SHOWN])}{more} have fewer images, all of which are taken",
            stacklevel=2,
        )
    return sorted(chosen)


def random_subset(length: int, count: int, seed: int = 0) -> list[int]:
    """Choose `count` of `length` images at random; there must be so many."""
    return class_covering_subset(length, np.empty(0, int), np.empty(0, int), count, seed)


def class_covering_subset(length: int, images: np.ndarray, labels: np.ndarray, count: int, seed: int = 0) -> list[int]:
    """Choose so many images at random, first of all one with each class that no chosen one has, rare classes first.

    Without this, few images of many classes would leave most classes without an example. `images` and `labels` are of
    each object, `(M,)`: the place of its image, and its class.
    """
    if not 1 <= count <= length:
        raise UserError(f"subset {count}: the training part has {length} images; give 1 to {length}, or null for all")
    order = _order(length, seed).numpy()
    rank = np.argsort(order)
    pairs = np.unique(np.stack([labels, images]), axis=1)  # a class counts once in an image
    classes, frequency = np.unique(pairs[0], return_counts=True)
    first: list[int] = []
    seen: set[int] = set()
    for label in classes[np.argsort(frequency, kind="stable")].tolist():
        if label not in seen:
            members = pairs[1, pairs[0] == label]
            first.append(int(members[np.argmin(rank[members])]))
            seen.update(pairs[0, pairs[1] == first[-1]].tolist())
    return sorted(list(dict.fromkeys([*first, *order.tolist()]))[:count])


def _order(length: int, *seed: int) -> torch.Tensor:
    mixed = int(np.random.SeedSequence(seed).generate_state(1, np.uint32)[0])
    return torch.randperm(length, generator=torch.Generator().manual_seed(mixed))
