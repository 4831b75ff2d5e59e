"""Checkpoints and weights as files that survive a kill, a power cut, a full disk and damage."""

import errno
import io
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

from gpvit.errors import UserError
from gpvit.io import replacing
from gpvit.train.logging import best
from gpvit.zoo.files import save

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write `last.ckpt`, whole or not at all, and keep the one before as `previous.ckpt`.

    Raises:
        OSError: If it cannot be written, as on a full disk; earlier checkpoints stay as they are.
    """
    content = io.BytesIO()
    torch.save(state, content)
    with _explained(folder / LAST, content.getbuffer().nbytes), replacing(folder / LAST) as temporary:
        with temporary.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())  # the bytes are on the disk before the file takes its name
        with suppress(FileNotFoundError):
            os.replace(folder / LAST, folder / PREVIOUS)


def save_weights(run: Any) -> None:
    """Write the weights of a run and their average, each as the last and, where the last row says so, as the best.

    The files hold the names and the preprocessing of the data, too: `gpvit.load` needs nothing else.

    Args:
        run: A `gpvit.train.loop.Run`.

    Raises:
        OSError: If they cannot be written; a file of that name stays as it was.
    """
    data, network = run.data, run.task.network
    inputs = data.preprocessing.to_dict() if data.preprocessing else {}  # detectors prepare images themselves
    if hasattr(data, "colors"):
        inputs["label_colors"] = [list(color) for color in data.colors]
    if hasattr(data, "categories"):
        inputs["category_ids"] = list(data.categories.ids)
    kinds = {"": nullcontext(), **({"ema_": run.ema.in_network()} if run.ema else {})}
    for prefix, in_place in kinds.items() if run.fabric.is_global_zero else ():
        is_best = best(run.rows, run.task.best_metric.replace("/", f"/{prefix}")) is run.rows[-1]
        with in_place:
            for name in ("last", "best") if is_best else ("last",):
                path = run.folder / f"{prefix}{name}.safetensors"
                with _explained(path, sum(tensor.nbytes for tensor in network.state_dict().values())):
                    save(network, path, data.class_names, inputs)


def find_checkpoint(place: Path) -> Path | None:
    """Find the newest whole checkpoint of a run; one that is damaged is reported on stderr, and the other is used.

    Args:
        place: A run folder, or a checkpoint; instead of a damaged `last.ckpt`, the `previous.ckpt` beside it is used.

    Returns:
        The checkpoint; None if there is none.

    Raises:
        UserError: All checkpoints there are damaged.
    """
    names = (LAST, PREVIOUS) if place.is_dir() or place.name == LAST else (place.name,)
    folder = place if place.is_dir() else place.parent
    damaged = []
    for path in (folder / name for name in names):
        if not path.is_file():
            continue
        if problem := _problem(path):
            damaged.append(f"{path} is damaged ({problem})")
            continue
        if damaged:
            rank_zero_only(print)(f"{damaged[0]}; {path}, the one before, is used", file=sys.stderr, flush=True)
        return path
    if damaged:
        raise UserError(f"{'; '.join(damaged)}; no whole checkpoint is left: start anew, in another folder")
    return None


def _problem(path: Path) -> str:
    """Say what is wrong with a checkpoint, each byte of which is checked; or nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            torn = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return str(error)
    return f"the checksum of {torn} does not fit" if torn else ""


@contextmanager
def _explained(path: Path, needed: int) -> Iterator[None]:
    """Say what a full disk asks for; any other error passes as it is."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        free = shutil.disk_usage(path.parent).free
        kept = " and ".join(name for name in (LAST, PREVIOUS) if (path.parent / name).is_file())
        raise OSError(
            error.errno,
            f"{path.name} could not be written ({os.strerror(error.errno)}): it needs {needed:,} bytes, {path.parent} "
            f"has {free:,} free. Make room there, then use --resume; whole are: {kept or 'no earlier checkpoint'}",
        ) from error
