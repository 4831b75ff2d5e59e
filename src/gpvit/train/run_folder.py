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
_WRITTEN = (
    "metrics.csv",
    "metrics.json",
    "data.png",
    "not_finite.txt",
    *(f"{n}.safetensors" for n in ("best", "last")),
)
_SHOWN = 8
# Of the group `train`, what the weights depend on beside the images of a step, which the checkpoint holds.
_DECISIVE = ("clip", "ema", "precision", "seed", "sync_batchnorm")
_FREE = ("batch_size", "num_workers", "grad_checkpointing", "compile")  # names anywhere that may change


def find_start(folder: Path, resume: bool | Path, settings: Mapping[str, Any]) -> Path | None:
    """Find the checkpoint that a run starts from, and refuse a folder that is not the run's own; nothing is written.

    A folder without a checkpoint counts as empty, so that a start that failed does not block the next.

    Args:
        folder: The run folder.
        resume: True for the run in that folder, or the folder or checkpoint of a run.
        settings: Of the run, in groups.

    Returns:
        The checkpoint; None to start from the beginning.

    Raises:
        FileNotFoundError: There is no checkpoint where a path says so.
        UserError: The folder holds another run, or files that no run wrote.
    """
    place = folder if resume is True else Path(resume) if resume else None
    checkpoint = None if place is None else find_checkpoint(place)
    if checkpoint is None and isinstance(resume, Path):
        raise FileNotFoundError(f"no checkpoint at {resume}; a run writes last.ckpt into its folder")
    if checkpoint is not None and checkpoint.parent.resolve() == folder.resolve():
        _check_settings(folder, settings)
        return checkpoint
    if find_checkpoint(folder) is not None:
        raise UserError(f"{folder} holds a run; name a new run folder, or resume that run by --resume")
    foreign = [name for name in (CONFIG, *_WRITTEN) if (folder / name).exists()]
    if foreign and not _is_ours(folder / CONFIG):
        raise UserError(f"{folder} holds {', '.join(foreign)}, which gpvit train did not write; name a new run folder")
    if resume:
        rank_zero_only(print)(f"no checkpoint in {folder} yet: starting from the beginning", flush=True)
    return checkpoint


def prepare_folder(folder: Path, checkpoint: Path | None, settings: Mapping[str, Any]) -> None:
    """Write the settings into a run folder, and clear away what a killed start left half written.

    Args:
        folder: The run folder; it is made where it is missing.
        checkpoint: What the run starts from; of another folder's run, the best weights are copied.
        settings: Of the run, in groups.
    """
    write_text(folder / CONFIG, _MARK + yaml.safe_dump(_plain(settings), sort_keys=False, allow_unicode=True))
    for torn in folder.glob(".saving-*"):
        shutil.rmtree(torn, ignore_errors=True)
    for name in ("best.safetensors", "ema_best.safetensors"):
        if checkpoint is not None and checkpoint.parent != folder and (checkpoint.parent / name).is_file():
            shutil.copyfile(checkpoint.parent / name, folder / name)


def _is_ours(config: Path) -> bool:
    return config.is_file() and config.read_bytes().startswith(_MARK.encode())


def _check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to resume the run of other settings, where the folder holds those it was started with."""
    path = folder / CONFIG
    try:
        kept = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else settings
        before, now = dict(_decisive(kept)), dict(_decisive(_plain(settings)))
    except (yaml.YAMLError, AttributeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}); start anew, in another folder") from error
    differing = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if differing:
        listed = [f"  {n}: {before.get(n, 'not set')} there, {now.get(n, 'not set')} here" for n in differing[:_SHOWN]]
        more = [f"  and {len(differing) - _SHOWN} more"] if len(differing) > _SHOWN else []
        raise UserError(
            "\n".join([f"{folder} holds the run of other settings, which cannot be resumed by these:", *listed, *more])
            + f"\nGive the same settings, or --resume {folder} with another --out folder for a new run from there"
        )


def _decisive(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give, by their names, the settings that the weights depend on."""
    chosen = {name: settings.get(name) for name in ("model", "data", "optim")}
    train = settings.get("train") or {}
    chosen["train"] = {name: train.get(name) for name in _DECISIVE}
    for name, value in _flat(chosen, ""):
        if name.rpartition(".")[2] not in _FREE:
            yield name, value


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _flat(part, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _plain(settings: Mapping[str, Any]) -> Any:
    """Give the settings as a file would give them back: tuples are lists."""
    return yaml.safe_load(yaml.safe_dump(dict(settings)))
