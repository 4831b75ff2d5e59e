"""Images of every format that Pillow writes, damaged."""

import io

import pytest
from fuzz.damage import files
from fuzz.property import holds
from hypothesis import given
from PIL import ExifTags, Image

from gpvit.runtime.images import open_image, read_image

MODES = ("RGB", "RGBA", "P", "L", "LA", "1", "CMYK", "I", "I;16", "F")


def encoded() -> dict[str, bytes]:
    """Write an image in every format and mode that goes together, and turned, and moving."""
    Image.init()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    whole = Image.linear_gradient("L").resize((20, 14))
    found = {}
    for form in sorted(set(Image.SAVE) & set(Image.OPEN)):
        for mode in MODES:
            for name, options in {"": {}, "-turned": {"exif": exif}, "-moving": {"save_all": True}}.items():
                image, buffer = whole.convert(mode), io.BytesIO()
                if name == "-moving":
                    options = {**options, "append_images": [image.rotate(90)]}
                try:
                    image.save(buffer, form, **options)
                except Exception:  # it does not go together
                    continue
                if not any(content == buffer.getvalue() for content in found.values()):
                    found[f"{form}-{mode.replace(';', '')}{name}.img"] = buffer.getvalue()
    return found


SOUND = encoded()


@pytest.mark.parametrize("read", [read_image, lambda path: read_image(open_image(path), (2, 3, 8, 7))])
@given(file=files(SOUND))
def test_a_damaged_image(read, tmp_path, file):
    path = tmp_path / file[0]
    path.write_bytes(file[1])
    holds(lambda: read(path), tmp_path)
    path.unlink()
