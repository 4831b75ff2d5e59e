import numpy as np
import pytest
from data.segmentation.folders import COLORS, draw_pair, write_mask
from PIL import Image

from gpvit.data.segmentation.masks import read_mask
from gpvit.runtime.images import ImageError

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
    for mode in ("CMYK", "LAB", "YCbCr", "HSV"):
        with pytest.raises(ValueError, match=f"of mode {mode}, where a mask holds a label or a colour"):
            read_mask(Image.new(mode, (4, 4)), 3)
    (tmp_path / "largest.pgm").write_bytes(b"P5 2 2 2\n" + bytes([0, 1, 2, 1]))  # Pillow scales it to 0, 128, 255
    with pytest.raises(ValueError, match=r"largest\.pgm has another largest value"):
        read_mask(tmp_path / "largest.pgm", 3)


LABELS = np.array([[0, 1, 2, 1], [2, 2, 0, 1]], np.uint8)
COLORED = [[0, 0, 0], [220, 60, 20], [40, 90, 200]]
GRAYS = [[0, 0, 0], [128, 128, 128], [255, 255, 255]]
BLACK_WHITE = [[0, 0, 0], [255, 255, 255]]


def paletted(labels, colors, order=(0, 1, 2)):
    """Write labels in their colours, which stand in the palette in some order."""
    image = Image.fromarray(np.argsort(order).astype(np.uint8)[labels])
    image.putpalette(np.array(colors, np.uint8)[list(order)].ravel().tolist())
    return image


def with_alpha(image, alpha):
    image = image.copy()
    image.putalpha(Image.fromarray(alpha.astype(np.uint8)))
    return image


def round_trip(image, tmp_path, extension="png", **options):
    image.save(tmp_path / f"mask.{extension}", **options)
    return tmp_path / f"mask.{extension}"


@pytest.mark.parametrize("colors", [COLORED, GRAYS, [[9, 9, 9], [0, 0, 0], [0, 1, 0]]])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("extension", ["png", "gif", "tiff", "bmp"])
def test_a_palette_is_read_by_colours_where_they_are_listed(tmp_path, colors, order, extension):
    path = round_trip(paletted(LABELS, colors, order), tmp_path, extension)
    assert np.array_equal(read_mask(path, 3, colors=colors), LABELS)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2", np.int32, np.float32])
@pytest.mark.parametrize("colors", [None, COLORED])
def test_numbers_are_labels_whatever_their_type(tmp_path, dtype, colors):
    labels = np.where(LABELS == 2, 255, LABELS).astype(dtype)
    read = read_mask(round_trip(Image.fromarray(labels), tmp_path, "tiff"), 3, colors=colors)
    assert np.array_equal(read, np.where(LABELS == 2, 255, LABELS))
    reduced = read_mask(tmp_path / "mask.tiff", 3, reduce_zero_label=True)
    assert np.array_equal(reduced, np.where(LABELS == 1, 0, 255))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
def test_gray_values_are_labels_in_every_mode(tmp_path, mode):
    labels = np.where(LABELS == 2, 255, LABELS)
    path = round_trip(Image.fromarray(labels).convert(mode), tmp_path)
    assert np.array_equal(read_mask(path, 2), labels)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "I;16", "65535", "F"])
@pytest.mark.parametrize("colors", [BLACK_WHITE, BLACK_WHITE[::-1]])
def test_black_and_white_are_classes_where_they_are_listed(tmp_path, mode, colors):
    gray = (np.uint8(255) * (LABELS > 0)).astype(np.uint8)
    deep = {"I;16": gray.astype(np.uint16), "65535": gray.astype(np.uint16) * 257, "F": gray.astype(np.float32)}
    image = Image.fromarray(deep[mode]) if mode in deep else Image.fromarray(gray).convert(mode)
    read = read_mask(round_trip(image, tmp_path, "tiff"), 2, colors=colors)
    assert np.array_equal(read, (LABELS > 0) == (colors == BLACK_WHITE))


def test_an_ignored_index_of_a_palette_unless_its_colour_is_a_class():
    labels = np.array([[0, 1, 255]], np.uint8)
    for last, expected in (([224, 224, 192], 255), (COLORED[2], 2)):
        image = Image.fromarray(labels)
        image.putpalette(np.array([*COLORED[:2], *[[9, 9, 9]] * 253, last], np.uint8).ravel().tolist())
        assert read_mask(image, 3, colors=COLORED).tolist() == [[0, 1, expected]]


@pytest.mark.parametrize("colors", [None, COLORED])
def test_transparency_over_one_value_is_that_value(tmp_path, colors):
    image = Image.fromarray(LABELS) if colors is None else Image.fromarray(np.array(COLORED, np.uint8)[LABELS])
    for alpha in (255 * (LABELS > 0), np.full(LABELS.shape, 77), np.zeros(LABELS.shape)):
        path = round_trip(with_alpha(image, alpha), tmp_path)
        assert np.array_equal(read_mask(path, 3, colors=colors), LABELS)
    for alpha in (77 * (LABELS > 0), 255 * (LABELS == 0)):
        with pytest.raises(ValueError, match=r"mask\.png is transparent in part"):
            read_mask(round_trip(with_alpha(image, alpha), tmp_path), 3, colors=colors)
    for options in ({"transparency": 0}, {"transparency": bytes([0, 128, 255])}):
        path = round_trip(paletted(LABELS, COLORED), tmp_path, **options)
        assert np.array_equal(read_mask(path, 3, colors=colors), LABELS)


def test_a_palette_of_grays_of_which_both_may_be_the_class(tmp_path):
    path = round_trip(paletted(LABELS, [[0, 0, 0], [1, 1, 1], [5, 5, 5]]), tmp_path)
    with pytest.raises(ValueError, match=r"mask\.png has a palette of grays: index 2 is gray 5"):
        read_mask(path, 6)
    assert np.array_equal(read_mask(path, 3), LABELS)
    assert np.array_equal(read_mask(round_trip(paletted(LABELS, GRAYS), tmp_path), 3), LABELS)


@pytest.mark.parametrize(("value", "message"), [(np.nan, "holds nan"), (0.5, "holds 0.5"), (-3.4e38, "label -33999")])
def test_floats_that_are_no_labels(tmp_path, value, message):
    labels = LABELS.astype(np.float32)
    labels[0, 0] = value
    with pytest.raises(ValueError, match=rf"mask\.tiff:? {message}"):
        read_mask(round_trip(Image.fromarray(labels), tmp_path, "tiff"), 3)


def test_pages_and_overviews(tmp_path):
    image = Image.fromarray(LABELS)
    path = round_trip(image, tmp_path, "tiff", save_all=True, append_images=[image.crop((0, 0, 2, 1))])
    assert np.array_equal(read_mask(path, 3), LABELS)
    with pytest.raises(ValueError, match="holds 2 images, where a mask is one"):
        read_mask(round_trip(image, tmp_path, "tiff", save_all=True, append_images=[image]), 3)


def test_instance_ids_are_recognised(tmp_path):
    with pytest.raises(ValueError, match=r"label 24001 .*may be of instances"):
        read_mask(round_trip(Image.fromarray(np.full((4, 4), 24001, np.uint16)), tmp_path), 19)


def test_a_mask_is_turned_as_its_own_exif_data_say(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert np.array_equal(read_mask(round_trip(Image.fromarray(LABELS), tmp_path, exif=exif), 3), np.rot90(LABELS, -1))
