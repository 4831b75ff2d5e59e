import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from gpvit.data import FashionMNIST, Preprocessing
from gpvit.data.classification.fashion_mnist import DEBIAN_FOLDER, FILES, read_part
from gpvit.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*is not the published file", "ignore:per_class")
SMALL = Preprocessing((1, 32, 32), (0.286,), (0.353,), crop_pct=1.0)


def idx(array):
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    """Ten images to train on and five to test with, image N all of gray N."""
    for part, count in (("train", 10), ("t10k", 5)):
        images = np.arange(count)[:, None, None] * np.ones((1, 28, 28))
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(count) % 10)))
    return tmp_path


def test_images_and_labels_of_plain_and_packed_files(folder):
    data = FashionMNIST(folder, preprocessing=SMALL, batch_size=5, num_workers=0)
    data.setup("fit")
    assert data.class_names[0] == "T-shirt/top"
    assert len(data.train_set) == 10
    images, labels = next(iter(data.val_dataloader()))
    assert images.shape == (5, 1, 32, 32)
    assert labels.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(images[3].mean().item(), (3 / 255 - 0.286) / 0.353, atol=1e-5)
    assert next(iter(data.train_dataloader()))[0].shape == (5, 1, 32, 32)


def test_a_subset_of_each_class(folder):
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(10) // 5)))
    data = FashionMNIST(folder, per_class=2, num_workers=0)
    data.setup("fit")
    assert data.train_set.dataset.targets.tolist() == [0, 0, 1, 1]
    assert len(data.val_set) == 5


def test_files_that_are_not_published_are_warned_of(folder):
    with pytest.warns(UserWarning, match="train-images-idx3-ubyte is not the published file of Fashion-MNIST"):
        read_part(folder, "train")


def test_report(folder, tmp_path):
    FashionMNIST(folder, preprocessing=SMALL, num_workers=0).write_report(tmp_path / "report")
    assert (tmp_path / "report" / "labels.csv").read_text().splitlines()[1].startswith("T-shirt/top,1,0.1")


IMAGES = idx(np.zeros((10, 28, 28)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte", IMAGES[:-3], "says that it holds 7840 values and holds 7837; it is damaged"),
        ("train-images-idx3-ubyte", IMAGES + b"0", "says that it holds 7840 values and holds more"),
        ("train-images-idx3-ubyte", gzip.compress(IMAGES, mtime=0)[:-9], r"damaged or cut short .*; fetch it again"),
        ("train-images-idx3-ubyte", gzip.compress(IMAGES, mtime=0)[:-4] + b"0000", "damaged or cut short"),
        ("train-images-idx3-ubyte", b"", "begins with b''; an IDX file"),
        ("train-images-idx3-ubyte", b"<html>", "begins with b'<htm'; an IDX file of .* begins with 0, 0, 8, 3"),
        ("train-images-idx3-ubyte", idx(np.zeros(10)), "begins with"),
        ("train-images-idx3-ubyte", IMAGES[:9], "damaged or cut short"),
        ("train-images-idx3-ubyte", IMAGES[:4] + b"\xff" * 12, "it is damaged"),
        ("train-images-idx3-ubyte", IMAGES[:4] + b"\0\x0f\0\0" * 3, "says that it holds .* it is damaged"),
        ("train-images-idx3-ubyte", idx(np.zeros((10, 32, 32))), r"images have \(32, 32\) pixels; .* 28x28"),
        ("train-images-idx3-ubyte", idx(np.zeros((9, 28, 28))), "9 images and 10 labels of train"),
        ("train-labels-idx1-ubyte", idx(np.arange(10) + 1), "labels reach 10; those of Fashion-MNIST go from 0 to 9"),
    ],
)
def test_damaged_files_are_named(name, content, message, folder):
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
        read_part(folder, "train")
    assert str(folder) in str(raised.value)


def test_what_is_missing_is_named(folder):
    with pytest.raises(FileNotFoundError, match="none: no such folder; install Debian's package dataset-fashion-mnist"):
        FashionMNIST(folder / "none")
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no train-labels-idx1-ubyte and no train-labels-idx1-ubyte.gz"):
        FashionMNIST(folder).setup("fit")


@pytest.mark.slow  # only where the package is installed
@pytest.mark.skipif(not Path(DEBIAN_FOLDER).is_dir(), reason="dataset-fashion-mnist is not installed")
@pytest.mark.filterwarnings("error")
def test_the_published_files():
    images, labels = read_part(Path(DEBIAN_FOLDER), "train")
    assert images.shape == (60000, 28, 28)
    assert np.bincount(labels).tolist() == 10 * [6000]
    assert abs(images.mean() / 255 - 0.2860) < 1e-4
    assert sorted(name + ".gz" for name in FILES) == sorted(os.listdir(DEBIAN_FOLDER))
