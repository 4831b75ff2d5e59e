"""The folder of a run: whether it may be written to, and whether it holds the run that is to be resumed."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.utilities.rank_zero import rank_zero_only

from gpvit.errors import UserError
from gpvit.io import write_text
from gpvit.train.checkpoint import find_checkpoint

CONFIG = "config.yaml"
_MARK = "# Written by gpvit train, for --resume.\n"
_WRITTEN = (CONFIG, "metrics.csv", "metrics.json", "data.png", "last.safetensors", "best.safetensors")
# Of the group `train`, what the weights depend on beside the images of a step, which the checkpoint holds.
_DECISIVE = ("clip", "ema", "precision", "seed", "sync_batchnorm")
_FREE = ("batch_size", "num_workers", "grad_checkpointing", "compile")  # names anywhere that may change


def find_start(folder: Path, resume: bool | Path, settings: Mapping[str, Any]) -> Path | None:
    """Find the checkpoint that a run starts from, and refuse a folder that is not the run's own; nothing is written.

    A folder without a checkpoint counts as empty, so that a start that failed does not block the next.

    Args:
        folder: The run folder.
        resume: True for the run in that folder, or the folder or checkpoint of a run.
        settings: In groups, as `config.yaml` holds them.

    Raises:
        FileNotFoundError: There is no checkpoint where a path says so.
        UserError: The folder holds another run, or files that no run wrote.
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


def prepare_folder(folder: Path, start: Path | None, settings: Mapping[str, Any]) -> None:
    """Write the settings, remove what a killed process left half written, copy the best weights of another run."""
    write_text(folder / CONFIG, _MARK + yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True))
    for torn in folder.glob(".saving-*"):
        shutil.rmtree(torn, ignore_errors=True)
    if start is not None and start.parent.resolve() != folder.resolve():
        for best in (*start.parent.glob("best.safetensors"), *start.parent.glob("ema_best.safetensors")):
            shutil.copyfile(best, folder / best.name)


def _check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to resume the run of other settings, where the folder holds those it was started with."""
    path = folder / CONFIG
    now = yaml.safe_dump(dict(settings))  # as a file gives them back: tuples are lists
    try:
        kept = path.read_text(encoding="utf-8") if path.is_file() else now
        before, given = (dict(_decisive(yaml.safe_load(text))) for text in (kept, now))
    except (yaml.YAMLError, AttributeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}); start anew, in another folder") from error
    names = [name for name in sorted({*before, *given}) if before.get(name) != given.get(name)]
    if names:
        listed = (f"  {n}: {before.get(n, 'not set')} there, {given.get(n, 'not set')} here" for n in names)
        raise UserError(
            "\n".join([f"{folder} holds the run of other settings, which cannot be resumed by these:", *listed])
            + f"\nGive the same settings, or --resume {folder} with another --out folder for a new run from there"
        )


def _decisive(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give, by their names, the settings that the weights depend on."""
    train = settings.get("train") or {}
    groups = {name: settings.get(name) for name in ("model", "data", "optim")}
    for name, value in _flat({**groups, "train": {name: train.get(name) for name in _DECISIVE}}):
        if name.rpartition(".")[2] not in _FREE:
            yield name, value


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _flat(part, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
