"""Checkpoint files that survive a power cut, a full disk and damage."""

import errno
import io
import os
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gpvit.errors import UserError

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


class CheckpointFiles(TorchCheckpointIO):
    """Writes every checkpoint whole or not at all, and keeps the `last.ckpt` before as `previous.ckpt`.

    The bytes are on the disk before the file takes its name.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: What to write.
            path: Where to; a file of this name is replaced.
            storage_options: Must be None.

        Raises:
            OSError: If it cannot be written, as on a full disk; earlier checkpoints stay as they are.
        """
        if storage_options is not None:
            raise TypeError("storage_options are for remote storage; checkpoints are written to a local folder")
        path = Path(path)
        content = io.BytesIO()
        torch.save(checkpoint, content)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.writing")
        try:
            with temporary.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            if path.name == LAST and path.is_file():
                os.replace(path, path.with_name(PREVIOUS))
            os.replace(temporary, path)
            _sync_folder(path.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise full_disk(error, path, content.getbuffer().nbytes) from error


def find_checkpoint(place: Path) -> Path | None:
    """Find the newest whole checkpoint of a run; one that is damaged is told on stderr and passed over.

    Args:
        place: A checkpoint, or a run folder. Instead of a damaged `last.ckpt`, the `previous.ckpt` beside it is taken.

    Returns:
        The checkpoint; None if the folder holds none.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: All checkpoints there are damaged.
    """
    if place.is_dir():
        candidates = [place / LAST, place / PREVIOUS]
    elif place.is_file() or place.name == LAST:
        candidates = [place, place.with_name(PREVIOUS)] if place.name == LAST else [place]
    else:
        candidates = []
    present = [path for path in candidates if path.is_file()]
    if not present:
        if place.is_dir():
            return None
        raise FileNotFoundError(f"no checkpoint at {place}; a run writes {LAST} into its folder")
    damaged = []
    for path in present:
        if problem := _problem(path):
            damaged.append(f"{path} is damaged ({problem})")
            continue
        if damaged:
            _tell(f"{'; '.join(damaged)}; going on from {path}, the checkpoint before")
        return path
    raise UserError(f"{'; '.join(damaged)}; no whole checkpoint is left: start anew, in another folder")


def _problem(path: Path) -> str:
    """Say what is wrong with a file that should hold a checkpoint, each byte of which is checked; or nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            torn = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return str(error)
    return f"the checksum of {torn} does not fit" if torn else ""


def full_disk(error: OSError, path: Path, needed: int) -> OSError:
    """Say what a full disk asks for; any other error is given back as it is.

    Args:
        error: Of writing a file.
        path: That file.
        needed: Its size in bytes.
    """
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return error
    free = shutil.disk_usage(path.parent).free
    kept = " and ".join(name for name in (LAST, PREVIOUS) if (path.parent / name).is_file())
    return OSError(
        error.errno,
        f"{path.name} could not be written ({os.strerror(error.errno)}): it needs {needed:,} bytes, {path.parent} has "
        f"{free:,} free. Make room there, then go on with --resume; whole are: {kept or 'no earlier checkpoint'}",
    )


def _sync_folder(folder: Path) -> None:
    """Have the names of a folder on the disk; not every system can be asked for it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


@rank_zero_only
def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
