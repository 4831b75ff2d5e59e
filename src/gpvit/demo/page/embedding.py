"""Images as text, so that a page carries them itself."""

import base64
import io

from PIL import Image

_QUALITY = 85


def data_url(image: Image.Image, photograph: bool = False) -> str:
    """Encode an image as a `data:` address: PNG, or JPEG for a photograph, which is much smaller."""
    buffer = io.BytesIO()
    if photograph:
        image.convert("RGB").save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    else:
        image.save(buffer, "PNG", optimize=True)
    kind = "jpeg" if photograph else "png"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
