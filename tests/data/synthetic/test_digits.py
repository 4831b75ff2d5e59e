import numpy as np
import pytest
from sklearn.datasets import load_digits

from gpvit.data.synthetic.digits import digits_split


def test_the_split_is_fixed_stratified_and_complete():
    (train, train_labels), (test, test_labels) = digits_split("train"), digits_split("test")
    assert train.shape == (1297, 8, 8)
    assert test.shape == (500, 8, 8)
    assert train.dtype == test.dtype == np.uint8
    assert train_labels.dtype == test_labels.dtype == np.int64
    assert (np.bincount(test_labels) == 50).all()
    assert np.bincount(train_labels).min() >= 124
    everything = sorted(image.tobytes() for image in np.concatenate([train, test]))
    raw = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
    assert everything == sorted(image.tobytes() for image in raw)
    assert not {image.tobytes() for image in train} & {image.tobytes() for image in test}
    assert test_labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 9]  # a change of the split would show here


def test_a_wrong_split():
    with pytest.raises(ValueError, match="'val': choose 'train' or 'test'"):
        digits_split("val")
