"""A model as a folder that the hubs know: weights, the configuration that timm and transformers read, a model card."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import nn

from gpvit.errors import UserError
from gpvit.io import located, read_json, replacing, sha256
from gpvit.models.variants import VARIANTS
from gpvit.runtime.images import read_image
from gpvit.version import __version__
from gpvit.zoo.files import Checkpoint, read_checkpoint, write_checkpoint
from gpvit.zoo.huggingface import CARD, CONFIG, WEIGHTS
from gpvit.zoo.model_card import CERTIFICATE, PICTURE, Card, render_card

_FILES = (".pth", ".pt", ".ckpt", ".bin", ".onnx", ".xml", ".pt2", ".tar")  # of nobody's folder
_MOST_PIXELS = 1280  # of a side of the card's picture
_OTHERS = (CARD, WEIGHTS, PICTURE, CERTIFICATE)
_RECORD = "gpvit"  # in the configuration: what else was written, by which a later call knows its own files


def save(
    model: nn.Module,
    path: str | Path,
    class_names: Sequence[str] | None = None,
    inputs: dict[str, Any] | None = None,
    source: str = "",
    card: Card | None = None,
) -> None:
    """Write a model's weights and all that is needed to use them, whole or not at all.

    Args:
        model: A model from :func:`gpvit.create_model` or timm.
        path: A file that ends in ``.safetensors``, or a folder for ``config.json``, ``model.safetensors`` and
            ``README.md``, which timm and transformers read as well, from the disk or a hub. In a folder only what was
            written by this function, and not changed since, is written over.
        class_names: Names of the classes, in the order of the logits.
        inputs: What replaces the ``PREPROCESSING_KEYS`` in the model's ``pretrained_cfg``.
        source: Where the weights came from, if they were converted.
        card: Of a folder, what its model card says: licence, data, scores, picture.

    Raises:
        ValueError: If the ending is another, the model is not from the catalog, the names do not match the head, or
            files in the folder are others'.
    """
    path = located(path)
    if path.is_dir() or path.suffix not in (".safetensors", *_FILES):
        save_folder(model, path, card or Card(), class_names=class_names, inputs=inputs, source=source)
    elif card is not None:
        raise UserError(f"{path} is a file, and only a folder has a model card; leave out one of the two")
    else:
        write_checkpoint(model, path, class_names, inputs, source)


def save_folder(model: nn.Module, folder: Path, card: Card, weights: Path | None = None, **described: Any) -> None:
    """Write a model's folder, of its weights or, if given, a file of these as it is; `described` is as of `save`."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder")
    if weights is not None and weights.suffix != ".safetensors":
        raise UserError(f"{weights} is no .safetensors file, which alone a hub's folder can hold")
    picture = None if card.picture is None else read_image(card.picture)
    written = [CONFIG, CARD, WEIGHTS, *[PICTURE] * bool(card.picture), *[CERTIFICATE] * bool(card.certificate)]
    earlier = _own_files(folder)
    if others := [name for name in written if (folder / name).exists() and name not in earlier]:
        raise UserError(
            f"{folder} holds {', '.join(others)}, which gpvit did not write or which changed since; move them away, or "
            "name another folder"
        )
    with ExitStack() as stack:  # files take their places in reverse order, the configuration last
        new = {name: stack.enter_context(replacing(folder / name)) for name in written}
        if weights is None:
            write_checkpoint(model, new[WEIGHTS], **described)
        else:
            shutil.copyfile(weights, new[WEIGHTS])
        if picture is not None:
            picture.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
            picture.save(new[PICTURE])
        certificate = card.scores(sha256(new[WEIGHTS]))
        if card.certificate is not None:
            shutil.copyfile(located(card.certificate), new[CERTIFICATE])
        checkpoint = read_checkpoint(new[WEIGHTS])
        text = render_card(model, checkpoint, card, folder.absolute().name, certificate)
        new[CARD].write_text(text, encoding="utf-8")
        config = _config(model, checkpoint, card)
        digests = {name: sha256(path) for name, path in new.items() if name != CONFIG}
        config[_RECORD] = {"version": __version__, "files": digests, "config": _digest(config)}
        new[CONFIG].write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for name in earlier.difference(written):
        (folder / name).unlink()


def _config(model: Any, checkpoint: Checkpoint, card: Card) -> dict[str, Any]:
    """Describe a model as timm does a classifier; of others, which timm has none of, tell what the file tells."""
    inputs = {key: value for key, value in checkpoint.inputs.items() if value is not None}
    config: dict[str, Any] = {"architecture": checkpoint.name, "num_classes": checkpoint.kwargs["num_classes"]}
    if "label_names" in inputs:
        config["label_names"] = inputs.pop("label_names")
    if model.task != "classification":
        return {**config, "library_name": "gpvit", "task": model.task, **inputs}
    # transformers gives the number of classes by itself, and the rest only where it is not the network's own
    usual = {"in_chans": 3, "global_pool": VARIANTS[checkpoint.name].get("global_pool", "attn")}
    given = {key: value for key, value in checkpoint.kwargs.items() if key != "num_classes"}
    of_images = {
        key: inputs[key] for key in ("input_size", "mean", "std", "interpolation", "crop_pct") if key in inputs
    }
    return {
        **config,
        "num_features": model.num_features,
        "global_pool": model.global_pool,
        "model_args": {key: value for key, value in given.items() if usual.get(key) != value},
        "pretrained_cfg": {
            **of_images,
            "num_classes": config["num_classes"],
            "fixed_input_size": False,
            "crop_mode": "center",
            **{key: model.pretrained_cfg[key] for key in ("first_conv", "classifier") if key in model.pretrained_cfg},
            **({"license": card.license} if card.license else {}),
        },
    }


def _own_files(folder: Path) -> set[str]:
    """Find what this module wrote into a folder, and nobody changed since."""
    try:
        config = read_json(folder / CONFIG)
        record = config.pop(_RECORD)
        own = {name for name in _OTHERS if name in record["files"] and sha256(folder / name) == record["files"][name]}
        return own | ({CONFIG} if _digest(config) == record["config"] else set())
    except (OSError, UserError, AttributeError, LookupError, TypeError):  # no configuration, or none of this module's
        return set()


def _digest(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
