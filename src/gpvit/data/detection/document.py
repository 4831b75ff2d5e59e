"""Opens annotation files in COCO's format, and says what a file of another format looks like."""

import gzip
import json
from pathlib import Path
from typing import Any

from gpvit.data.detection.fields import FIELDS
from gpvit.errors import UserError

_BYTES = {
    b"PK\x03\x04": "a zip archive: unpack it",
    b"<": "XML, as CVAT and Pascal VOC have it",
    b"\x89PNG": "an image",
}
_KEYS = {
    "detections without the truth, as results files are": {"image_id", "category_id", "score"},
    "a lone list of annotations": {"image_id", "category_id", "bbox"},
    "an export of Label Studio's own JSON": {"data", "annotations"},
    "CreateML's format": {"image", "annotations"},
    "LabelMe's format": {"shapes", "imagePath"},
    "a project of VIA": {"_via_img_metadata"},
    "annotations of VIA": {"filename", "regions"},
    "Supervisely's format": {"objects", "size"},
    "Datumaro's format": {"items", "categories"},
    "FiftyOne's format": {"samples"},
    "the images of a test set, whose annotations are not published": {"images", "categories"},
}
"""Formats by keys of their objects, of which the first one that fits is named."""


def read_document(path: Path) -> dict[str, Any]:
    """Read a JSON file, perhaps gzipped, in UTF-8, UTF-16 or UTF-32, with the three lists of COCO's format."""
    content = path.read_bytes()
    try:
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        document = json.loads(content)
    except (ValueError, RecursionError, EOFError, OSError) as error:
        known = [what for start, what in _BYTES.items() if content.lstrip().startswith(start)]
        looks = f"; it looks like {known[0]}" if known else "" if content.strip() else "; it is empty"
        raise UserError(f"{path} is not JSON, or is cut short{looks}: {error}") from error
    lists = document if isinstance(document, dict) else {}
    if not all(isinstance(lists.get(kind), list) for kind in FIELDS):
        found = {key: type(value).__name__ for key, value in list(lists.items())[:10]} or "none"
        likely = _looks_like(document)
        hint = f". It looks like {likely}: export it as COCO, or give the file with the annotations" if likely else ""
        raise UserError(f"a COCO file is an object with the lists {', '.join(FIELDS)}; found {found}{hint}")
    return lists


def _looks_like(document: Any) -> str | None:
    """Name a format by the keys of a document, or of the first of its entries."""
    entries = document if isinstance(document, list) else [document, *getattr(document, "values", list)()]
    first = [set(entry) for entry in entries[:2] if isinstance(entry, dict)]
    return next((what for what, keys in _KEYS.items() if any(keys <= each for each in first)), None)
