"""Checkpoints and weights in a run folder: written whole, found again, and never over files of others."""

import errno
import io
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
import yaml
from filelock import FileLock, Timeout
from lightning.fabric.utilities.rank_zero import rank_zero_only

from gpvit.errors import UserError
from gpvit.io import replacing, write_text
from gpvit.train.composition import walk
from gpvit.train.logging import best
from gpvit.zoo.files import write_checkpoint

CONFIG, LAST, PREVIOUS = "config.yaml", "last.ckpt", "previous.ckpt"
_MARK = "# Written by gpvit train, for --resume.\n"
_WRITTEN = (CONFIG, "metrics.csv", "metrics.json", "data.png", "last.safetensors", "best.safetensors")
# Of the group `train`, what the weights depend on beside the images of a step, which the checkpoint holds.
_DECISIVE = ("clip", "ema", "precision", "seed", "sync_batchnorm")
_FREE = ("batch_size", "num_workers", "grad_checkpointing", "compile")  # names anywhere that may change


def find_start(folder: Path, resume: bool | Path, settings: Mapping[str, Any]) -> Path | None:
    """Find the checkpoint that a run starts from, see `fit`, and refuse a folder of others; nothing is written.

    A folder without a checkpoint counts as empty, so that a start that failed does not block the next.
    """
    checkpoint = find_checkpoint(folder if resume is True else Path(resume)) if resume else None
    if checkpoint is None and isinstance(resume, Path):
        raise FileNotFoundError(f"no checkpoint at {resume}; a run writes last.ckpt into its folder")
    if checkpoint is not None and checkpoint.parent.resolve() == folder.resolve():
        _check_settings(folder, settings)
        return checkpoint
    if find_checkpoint(folder) is not None:
        raise UserError(f"{folder} holds a run; name a new run folder, or resume that run by --resume")
    found = [name for name in _WRITTEN if (folder / name).exists()]
    if found and not (CONFIG in found and (folder / CONFIG).read_bytes().startswith(_MARK.encode())):
        raise UserError(f"{folder} holds {', '.join(found)}, which gpvit train did not write; name a new run folder")
    if resume is True:
        rank_zero_only(print)(f"no checkpoint in {folder} yet: starting from the beginning", flush=True)
    return checkpoint


def check_classes(checkpoint: Path, names: Sequence[str]) -> None:
    """Refuse data whose classes are not those of the run that is to be continued: each output has learned its own."""
    before = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True).get("class_names", list(names))
    if before == list(names):
        return
    only = [", ".join(name for name in one if name not in other) for one, other in ((before, names), (names, before))]
    what = [f"only in the {where}: {which}" for where, which in zip(("run", "data"), only, strict=True) if which]
    raise UserError(
        f"the classes of the data are no longer those of the run in {checkpoint.parent}: "
        f"{'; '.join(what) or 'their order is ' + ', '.join(names) + ' in place of ' + ', '.join(before)}. Give the "
        "data of that run, or start anew: name another --out, and perhaps --model.weights for its best.safetensors"
    )


@contextmanager
def alone_in(folder: Path, fabric: Any) -> Iterator[None]:
    """Hold a run folder while a run writes there; all processes of another that starts there meanwhile are refused."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        if fabric.is_global_zero:
            lock.acquire()
        is_held = True
    except Timeout:
        is_held = False
    if not fabric.broadcast(is_held):
        raise UserError(f"another run writes into {folder} now; wait for its end, or name another --out")
    try:
        yield
    finally:
        if lock.is_locked:
            with suppress(OSError):  # of systems that remove no open file
                (folder / ".lock").unlink()
            lock.release()


def prepare_folder(folder: Path, start: Path | None, settings: Mapping[str, Any]) -> None:
    """Write the settings, remove what a killed process left half written, copy the best weights of another run."""
    write_text(folder / CONFIG, _MARK + yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True))
    for torn in folder.glob(".saving-*"):
        shutil.rmtree(torn, ignore_errors=True)
    if start is not None and start.parent.resolve() != folder.resolve():
        for path in (*start.parent.glob("best.safetensors"), *start.parent.glob("ema_best.safetensors")):
            shutil.copyfile(path, folder / path.name)


def _check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to resume the run of other settings, where the folder holds those it was started with."""
    path = folder / CONFIG
    now = yaml.safe_dump(dict(settings))  # as a file gives them back: tuples are lists
    try:
        before, given = map(_decisive, (path.read_text(encoding="utf-8") if path.is_file() else now, now))
    except (yaml.YAMLError, AttributeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}); start anew, in another folder") from error
    names = [name for name in sorted({*before, *given}) if before.get(name) != given.get(name)]
    if names:
        listed = (f"  {name}: {before.get(name)} there, {given.get(name)} here" for name in names)
        raise UserError(
            "\n".join([f"{folder} holds the run of other settings, which cannot be resumed by these:", *listed])
            + f"\nGive the same settings, or --resume {folder} with another --out folder for a new run from there"
        )


def _decisive(text: str) -> dict[str, Any]:
    """Read, by their names, the settings that the weights depend on."""
    return {
        ".".join(keys): value
        for keys, value in walk(yaml.safe_load(text))
        if not isinstance(value, Mapping) and keys[-1] not in _FREE and (keys[0] != "train" or keys[-1] in _DECISIVE)
    }


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write `last.ckpt`, whole or not at all, and keep the one before as `previous.ckpt`."""
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
    """Write a run's weights and their average, each as the last and, where the last row says so, as the best.

    The files hold the names and the preprocessing of the data, too: `gpvit.load` needs nothing else.
    """
    data = run.data
    inputs = data.preprocessing.to_dict() if data.preprocessing else {}  # detectors prepare images themselves
    if hasattr(data, "colors"):
        inputs["label_colors"] = [list(color) for color in data.colors]
    if hasattr(data, "categories"):
        inputs["category_ids"] = list(data.categories.ids)
    for prefix, network in run.networks().items():
        is_best = best(run.rows, run.task.best_metric.replace("/", f"/{prefix}")) is run.rows[-1]
        for name in ("last", "best") if is_best else ("last",):
            path = run.folder / f"{prefix}{name}.safetensors"
            with _explained(path, sum(tensor.nbytes for tensor in network.state_dict().values())):
                write_checkpoint(network, path, data.class_names, inputs)


def find_checkpoint(place: Path) -> Path | None:
    """Find the newest whole checkpoint in a run folder, or a named one; None if there is none.

    A damaged `last.ckpt` is reported on stderr, and the `previous.ckpt` beside it is used.
    """
    names = (LAST, PREVIOUS) if place.is_dir() or place.name == LAST else (place.name,)
    folder = place if place.is_dir() else place.parent
    damaged = []
    for path in (folder / name for name in names if (folder / name).is_file()):
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
        state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # what a damaged byte raises in zipfile, torch or pickle is anything
        return str(error).partition("\n")[0] or type(error).__name__
    if torn:
        return f"the checksum of {torn} does not fit"
    return "" if isinstance(state, dict) and "step" in state else "gpvit train did not write it"


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
