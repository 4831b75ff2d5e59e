"""Fetch the authors' released weights once, check them, and keep them converted."""

import http.client
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from gpvit.errors import UserError
from gpvit.zoo.catalog import find_weights
from gpvit.zoo.conversion import convert_file
from gpvit.zoo.official import RELEASE

CACHE_VARIABLE = "GPVIT_CACHE"
ADDRESS_VARIABLE = "GPVIT_WEIGHTS_URL"
TIMEOUT_S = 30
CHUNK_BYTES = 1 << 20


def cache_folder() -> Path:
    """Return where weights are kept: ``$GPVIT_CACHE``, else ``~/.cache/gpvit``."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "gpvit")


def published_weights(name: str, tag: str | None = None) -> Path:
    """Return the converted published weights of a model, fetching them if they are not in the cache.

    The official ``.pth`` may also be put into the cache folder by hand; then nothing is fetched. The address can
    be that of a mirror, ``$GPVIT_WEIGHTS_URL``.

    Args:
        name: A model of the catalog.
        tag: One of its weights; None for the first.

    Raises:
        ValueError: If there are no such weights, or what was fetched is not whole or not these weights.
        ConnectionError: If they could not be fetched; says where to put the file by hand.
    """
    tag, weights = find_weights(name, tag)
    folder = cache_folder()
    converted = folder / f"{name}.{tag}.safetensors"
    if converted.is_file():
        return converted
    folder.mkdir(parents=True, exist_ok=True)
    by_hand = folder / weights.filename
    address = f"{os.environ.get(ADDRESS_VARIABLE, RELEASE).rstrip('/')}/{weights.filename}"
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as temporary:
        original = by_hand if by_hand.is_file() else _fetch(address, Path(temporary) / weights.filename, by_hand)
        convert_file(original, converted, name)
    return converted


def _fetch(address: str, path: Path, by_hand: Path) -> Path:
    """Download to ``path`` with a progress bar; a transfer cut short is an error."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    try:
        with (
            urllib.request.urlopen(address, timeout=TIMEOUT_S) as response,  # http.client reads what the length says
            path.open("wb") as file,
            Progress(*columns, transient=True) as progress,
        ):
            expected = int(response.headers.get("Content-Length", 0))
            task = progress.add_task(path.name, total=expected or None)
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                progress.advance(task, len(chunk))
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise ConnectionError(
            f"could not fetch {address}: {error}. On a machine without network, put the file at {by_hand}, "
            f"or set {ADDRESS_VARIABLE} to a mirror"
        ) from error
    if expected and path.stat().st_size != expected:
        raise UserError(f"{address} broke off after {path.stat().st_size} of {expected} bytes; try again")
    return path
