import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gpvit.runtime.images import ImageError, decode_image, open_image, read_image

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8)
GRAY = COLOUR[..., 0]


def as_gray_rgb(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[..., None], 3, axis=2)


def saved(image: Image.Image, path: Path, **options) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("extension", ["png", "bmp", "tiff", "ppm", "webp"])
def test_lossless_colour_files_keep_every_value(tmp_path, extension):
    options = {"lossless": True} if extension == "webp" else {}
    path = saved(Image.fromarray(COLOUR), tmp_path / f"image.{extension}", **options)
    for source in (path, str(path), Image.open(path)):
        image = read_image(source)
        assert image.mode == "RGB"
        assert np.array_equal(image, COLOUR)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16] = 255  # white in the upper left corner of a landscape picture
    stored = {  # how a camera that writes this orientation has stored the upright picture
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(Image.fromarray(np.ascontiguousarray(stored)), tmp_path / "photo.png", exif=exif)
    assert np.array_equal(read_image(path), upright)


def test_gray_one_bit_and_palette_files(tmp_path):
    assert np.array_equal(read_image(saved(Image.fromarray(GRAY), tmp_path / "gray.png")), as_gray_rgb(GRAY))
    bits = Image.fromarray(GRAY).convert("1")
    expected = as_gray_rgb(np.where(np.asarray(bits), 255, 0).astype(np.uint8))
    assert np.array_equal(read_image(saved(bits, tmp_path / "bits.png")), expected)
    palette = Image.fromarray(COLOUR).quantize(16)
    assert np.array_equal(read_image(saved(palette, tmp_path / "palette.png")), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_are_white(tmp_path, mode):
    rgba = np.zeros((4, 6, 4), np.uint8)
    rgba[:, 3:, 3] = 255  # black; the left half fully transparent
    image = Image.fromarray(rgba).convert(mode) if mode != "P" else Image.fromarray(rgba[..., 3] // 255).convert("P")
    options = {"transparency": 0} if mode == "P" else {}
    if mode == "P":
        image.putpalette([255, 0, 0, 0, 0, 0])
    pixels = np.asarray(read_image(saved(image, tmp_path / "image.png", **options)))
    assert (pixels[:, :3] == 255).all()
    assert (pixels[:, 3:] == 0).all()


def test_half_transparency_blends():
    rgba = np.array([[[0, 100, 200, 128]]], np.uint8)
    blended = np.rint(rgba[0, 0, :3] * (128 / 255) + 255 * (127 / 255))
    assert np.abs(np.asarray(read_image(rgba))[0, 0] - blended).max() <= 1


def test_cmyk_files(tmp_path):
    path = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), tmp_path / "red.jpg", quality=100)
    red, green, blue = np.asarray(read_image(path)).reshape(-1, 3).mean(0)
    assert red > 245
    assert max(green, blue) < 10


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_16_bit_files_keep_their_whole_range(tmp_path, suffix):
    values = np.linspace(0, 65535, 13 * 17).astype(np.uint16).reshape(13, 17)
    path = saved(Image.fromarray(values), tmp_path / f"deep.{suffix}")
    pixels = np.asarray(read_image(path))
    assert np.array_equal(pixels, as_gray_rgb(np.rint(values / 257).astype(np.uint8)))
    assert pixels.min() == 0
    assert pixels.max() == 255


def test_32_bit_integers_beyond_16_bits_are_refused():
    with pytest.raises(ImageError, match="int32"):
        read_image(Image.fromarray(np.full((4, 4), 70_000, np.int32)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2", np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_arrays_of_every_type(dtype, channels):
    reference = COLOUR if channels == 3 else GRAY if channels is None else GRAY[..., None]
    kind = np.dtype(dtype)
    array = reference if kind == np.uint8 else (reference / 255) if kind.kind == "f" else reference.astype("u4") * 257
    expected = COLOUR if channels == 3 else as_gray_rgb(GRAY)
    assert np.array_equal(read_image(array.astype(dtype)), expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_tensors_are_channels_first(dtype, channels):
    tensor = torch.from_numpy(COLOUR).permute(2, 0, 1)
    tensor = tensor[0] if channels is None else tensor[:channels]
    tensor = tensor if dtype == torch.uint8 else (tensor / 255).to(dtype).requires_grad_()
    assert np.array_equal(read_image(tensor), COLOUR if channels == 3 else as_gray_rgb(GRAY))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.int64, np.float32, bool])
@pytest.mark.parametrize("largest", [1, 255, 4095, 65535])
def test_the_type_says_the_range_in_files_arrays_and_tensors(tmp_path, dtype, largest, recwarn):
    kind = np.dtype(dtype)
    values = (GRAY.astype(np.float64) / GRAY.max() * largest).astype(dtype)
    top = {"f": 1, "b": 1}.get(kind.kind, 65535 if kind == np.uint16 else 255)
    sources = [values, torch.from_numpy(values.astype(np.int32) if kind == np.uint16 else values)]
    sources = sources[: 1 + (kind != np.uint16)]
    if dtype not in (np.int16, np.int64):
        path = saved(Image.fromarray(values), tmp_path / "image.tiff")
        sources += [path, Image.open(path)]
    expected = as_gray_rgb(np.rint(values.astype(np.float64) / top * 255).clip(0, 255).astype(np.uint8))
    for source in sources:
        if values.max() > top or values.min() < 0:
            with pytest.raises(ImageError, match=r"holds values from .* to .*; uint16 lies in"):
                read_image(source)
        else:
            assert np.array_equal(read_image(source), expected)
    nearly_black = kind == np.uint16 and largest <= 4095
    assert any("12 bits" in str(warning.message) for warning in recwarn) == nearly_black


def test_the_result_shares_no_memory_with_the_source():
    source = COLOUR.copy()
    image = read_image(source)
    source[:] = 0
    assert np.array_equal(image, COLOUR)
    original = Image.fromarray(COLOUR)
    read_image(original).putpixel((0, 0), tuple(255 - COLOUR[0, 0]))
    assert np.array_equal(original, COLOUR)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.full((4, 4), np.nan, np.float32), "nan"),
        (np.full((4, 4), 1.5, np.float32), r"from 1.5 to 1.5; .*floats and booleans in \[0, 1\]"),
        (np.full((4, 4), -0.1), "from -0.1"),
        (np.full((4, 4), np.inf), "inf"),
        (torch.full((3, 4, 4), float("nan")), "nan"),
        (torch.randn(3, 64, 64), "Undo a normalisation"),
        (np.full((4, 4), 256, np.int64), r"int64 holds values from 256 to 256; .*other integers in 0\.\.255"),
        (np.full((4, 4), -1, np.int16), "from -1 to -1"),
        (np.zeros((4, 4), complex), "complex128"),
        (np.zeros((3, 4, 5), np.uint8), "channels last"),
        (np.zeros((4, 4, 2), np.uint8), "channels last"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (np.zeros(7, np.uint8), r"\(7,\)"),
        (torch.zeros(5, 4, 3), "channels first"),
        (torch.zeros(2, 3, 4, 5), "one image at a time"),
    ],
)
def test_arrays_and_tensors_that_are_no_image(source, message):
    with pytest.raises(ImageError, match=message):
        read_image(source)


def test_a_source_of_another_type():
    with pytest.raises(TypeError, match="list"):
        read_image([[0, 1], [2, 3]])


def test_files_that_are_absent_or_no_image(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.png"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="folder"):
        read_image(tmp_path)
    for content in (b"", b"these are words, no picture", RNG.bytes(5000)):
        (tmp_path / "words.jpg").write_bytes(content)
        with pytest.raises(ImageError, match=r"words\.jpg is not an image .* save it as PNG or JPEG"):
            read_image(tmp_path / "words.jpg")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("extension", ["png", "jpg", "tiff", "webp", "bmp", "gif"])
def test_damaged_files_name_themselves_or_open(tmp_path, extension):
    buffer = io.BytesIO()
    Image.fromarray(COLOUR.repeat(4, 0).repeat(4, 1)).save(buffer, {"jpg": "JPEG"}.get(extension, extension.upper()))
    whole = buffer.getvalue()
    rng = np.random.default_rng(1)
    path = tmp_path / f"damaged.{extension}"
    refusals = []
    for attempt in range(60):
        content = bytearray(whole)
        if attempt % 2:
            del content[rng.integers(1, len(content) * 3 // 4) :]
        else:
            for position in rng.integers(0, min(len(content), 400), 6):
                content[position] = rng.integers(256)
        path.write_bytes(content)
        try:
            assert read_image(path).mode == "RGB"
        except ImageError as error:
            refusals.append(str(error))
    assert all(str(path) in message for message in refusals)
    assert len(refusals) >= 30, "no truncated file may pass as an image"


def header_only_png(path, width, height):
    """Write a file of a few bytes that claims to be a large image."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + end)
    return path


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_images_beyond_the_limit_are_called_too_large_and_not_damaged(tmp_path, monkeypatch):
    limit = Image.MAX_IMAGE_PIXELS
    path = header_only_png(tmp_path / "huge.png", 20_000, 10_000)
    for read in (read_image, open_image, lambda path: decode_image(path.read_bytes(), str(path))):
        with pytest.raises(ImageError, match=r"(?s)huge\.png is larger than the limit .*200000000.*GPVIT_MAX_PIXELS"):
            read(path)
    with pytest.raises(ImageError, match=r"huge\.png is damaged or truncated"):  # within the limit, but empty
        read_image(path, max_pixels=200_000_000)
    assert limit == Image.MAX_IMAGE_PIXELS, "one image's limit is not that of the next"
    small = saved(Image.fromarray(COLOUR), tmp_path / "small.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ImageError, match=r"small\.png is larger than the limit"):
        read_image(small)
    monkeypatch.setenv("GPVIT_MAX_PIXELS", "1000")
    assert open_image(small).size == (17, 13)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "I;16"])
def test_windows_of_an_opened_image_equal_parts_of_the_whole(tmp_path, mode, orientation):
    image = Image.fromarray(GRAY.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(COLOUR).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(image, tmp_path / "image.png", exif=exif)
    whole, opened = read_image(path), open_image(path)
    assert opened.size == whole.size
    for box in ((0, 0, 5, 4), (3, 2, 13, 13), (0, 0, *whole.size)):
        assert np.array_equal(read_image(opened, box), whole.crop(box))
        assert np.array_equal(read_image(path, box), whole.crop(box))
    assert np.array_equal(read_image(opened), whole)


def test_an_opened_image_that_is_damaged_names_its_file(tmp_path):
    path = saved(Image.fromarray(COLOUR.repeat(9, 0)), tmp_path / "cut.bmp")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ImageError, match=r"cut\.bmp is damaged or truncated"):
        read_image(open_image(path), (0, 0, 2, 2))
