"""1,797 real handwritten digits, 8x8 pixels each, that scikit-learn carries."""

from functools import cache
from typing import Literal

import numpy as np
from sklearn.datasets import load_digits

from gpvit.errors import UserError

_TEST_DIGITS_PER_CLASS = 50


def digits_split(split: Literal["train", "test"]) -> tuple[np.ndarray, np.ndarray]:
    """Give one part of the fixed split: 1,297 digits to train on, 500 to test with.

    Nothing about the split is random: of each class, 50 digits at even distances in scikit-learn's order are the test.
    The data do not say who wrote which digit, so the same 13 writers appear in both parts.

    Args:
        split: "train" or "test".

    Returns:
        Images `(N, 8, 8)`, uint8, bright ink on black, and labels `(N,)`, int64.
    """
    if split not in ("train", "test"):
        raise UserError(f"split {split!r}: choose 'train' or 'test'")
    images, labels, is_test = _digits()
    chosen = is_test == (split == "test")
    return images[chosen], labels[chosen]


@cache
def _digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images `(1797, 8, 8)`, labels `(1797,)` and, for each, whether it belongs to the test."""
    digits = load_digits()
    is_test = np.zeros(len(digits.target), dtype=bool)
    for label in range(10):
        members = np.flatnonzero(digits.target == label)
        is_test[members[np.arange(_TEST_DIGITS_PER_CLASS) * len(members) // _TEST_DIGITS_PER_CLASS]] = True
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # scikit-learn gives ink from 0 to 16
    return images, digits.target.astype(np.int64), is_test
