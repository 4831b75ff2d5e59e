import numpy as np
import pytest
from data.segmentation.folders import COLORS, draw_pair, write_mask
from PIL import Image

from gpvit.data.images import ImageError
from gpvit.data.segmentation.masks import read_mask

MASK = draw_pair(0)[1]


def test_an_index_png_is_its_labels(tmp_path):
    read = read_mask(write_mask(tmp_path / "mask.png", MASK), 3)
    assert read.dtype == np.uint8
    assert np.array_equal(read, MASK)
    assert np.array_equal(read_mask(Image.fromarray(MASK), 3), MASK)


def test_a_paletted_png_is_its_indices_and_not_its_colours(tmp_path):
    path = write_mask(tmp_path / "mask.png", MASK, ((9, 9, 9), (8, 8, 8), (9, 9, 9)))
    assert Image.open(path).mode == "P"
    assert np.array_equal(read_mask(path, 3), MASK)


def test_sixteen_bits_and_one_bit(tmp_path):
    wide = MASK.astype(np.uint16)
    wide[MASK == 255] = 65535
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert np.array_equal(read_mask(tmp_path / "wide.png", 3, ignore_index=65535), MASK)
    Image.fromarray(MASK == 1).save(tmp_path / "bits.png")
    assert np.array_equal(read_mask(tmp_path / "bits.png", 2), MASK == 1)


@pytest.mark.parametrize("ignored", [0, 7, 254])
def test_any_ignored_label_becomes_255(ignored):
    labels = np.array([[0, 1, 2], [ignored, 1, 2]], np.uint8)
    assert np.array_equal(
        read_mask(Image.fromarray(labels), 3, ignore_index=ignored), np.where(labels == ignored, 255, labels)
    )


def test_zero_is_reduced_as_ade20k_needs_it():
    labels = np.array([[0, 1, 150, 255]], np.uint8)
    assert read_mask(Image.fromarray(labels), 150, reduce_zero_label=True).tolist() == [[255, 0, 149, 255]]
    with pytest.raises(ValueError, match=r"label 150 .*allowed are 1 to 149, and 255"):
        read_mask(Image.fromarray(labels), 149, reduce_zero_label=True)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_are_translated(seed, mode):
    generator = np.random.default_rng(seed)
    colors = generator.choice(256**3, 31, replace=False)
    colors = np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=1).astype(np.uint8)
    labels = generator.integers(31, size=(17, 23))
    image = Image.fromarray(colors[labels]).convert(mode)
    read = read_mask(image, 30, colors=colors[:30].tolist(), ignore_color=colors[30].tolist())
    assert np.array_equal(read, np.where(labels == 30, 255, labels))


def test_an_unknown_colour_is_named_with_its_place(tmp_path):
    pixels = np.array(COLORS, np.uint8)[np.zeros((5, 7), int)]
    pixels[3, 4:6] = 1, 2, 3
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    with pytest.raises(ValueError, match=r"mask\.png: colour \(1, 2, 3\) at row 3, column 4 .*\(2 pixels of 1 unknown"):
        read_mask(tmp_path / "mask.png", 3, colors=COLORS)
    with pytest.raises(
        ValueError, match=r"(?s)mask\.png is a mask in RGB.*index PNG.*classes\.yaml:\n  names: .*\n  colors: "
    ):
        read_mask(tmp_path / "mask.png", 3)


def test_a_label_outside_the_classes_is_named(tmp_path):
    path = write_mask(tmp_path / "mask.png", np.array([[0, 1, 9], [9, 5, 255]], np.uint8))
    with pytest.raises(
        ValueError, match=r"mask\.png: label 5, 9 \(3 pixels\).* 3 classes; allowed are 0 to 2, and 255"
    ):
        read_mask(path, 3)
    with pytest.raises(ValueError, match=r"label 255 .*allowed are 0 to 9, and 0"):
        read_mask(path, 10, ignore_index=0)
    many = write_mask(tmp_path / "many.png", np.arange(20, dtype=np.uint8)[None])
    with pytest.raises(ValueError, match=r"label 3, 4, 5, 6, 7 and 12 more \(17 pixels\)"):
        read_mask(many, 3)


def test_what_is_no_mask(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.png: no such mask"):
        read_mask(tmp_path / "nothing.png", 3)
    path = write_mask(tmp_path / "mask.png", MASK)
    path.write_bytes(path.read_bytes()[:70])
    with pytest.raises(ImageError, match=r"mask\.png is damaged or truncated"):
        read_mask(path, 3)
    Image.fromarray(MASK).save(tmp_path / "mask.jpg")
    with pytest.raises(ValueError, match=r"mask\.jpg: JPEG changes labels"):
        read_mask(tmp_path / "mask.jpg", 3)
    with pytest.raises(ValueError, match="of mode LA, where a mask holds one label per pixel"):
        read_mask(Image.new("LA", (4, 4)), 3)
    with pytest.raises(ValueError, match="of mode F"):
        read_mask(Image.new("F", (4, 4)), 3)
