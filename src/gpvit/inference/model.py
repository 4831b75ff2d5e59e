"""What inference needs of a model: to open it by whatever names it, its device, its preprocessing, its classes."""

from pathlib import Path
from typing import cast

import torch
from timm.data import ImageNetInfo
from torch import nn

from gpvit.data.preprocessing import Preprocessing
from gpvit.models.catalog import create_model
from gpvit.models.checkpoints import load

NUM_IMAGENET_CLASSES = 1000


def open_model(model: str | Path, weights: str | Path | None = None) -> nn.Module:
    """Create or load a model, in evaluation mode.

    Args:
        model: A name of the catalog, with a tag of published weights (``"gpvit_l1.in1k"``) or without, or the path
            of a self-describing checkpoint.
        weights: With a name: tag or file of the weights, as :func:`gpvit.create_model` takes them. Without any,
            the model starts from random values (see :func:`is_untrained`).

    Raises:
        FileNotFoundError: If a path leads nowhere.
        ValueError: If the name or tag is unknown, weights do not fit, or a checkpoint is given weights as well.
    """
    if not _is_path(model):
        return create_model(str(model), weights).eval()
    if weights is not None:
        raise ValueError(f"{model} brings its own weights; leave out {str(weights)!r}, or name a model of the catalog")
    return load(model)


def is_untrained(model: str | Path, weights: str | Path | None = None) -> bool:
    """Tell whether :func:`open_model` would start this model from random values."""
    return weights is None and not _is_path(model) and "." not in str(model)


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """Return the device asked for, or else the accelerator of this machine, or else the CPU.

    Raises:
        ValueError: If there is no such device here.
    """
    if device is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch built without a device's support asserts
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {str(device)!r} cannot be used here: {reason}; choose 'cpu'") from error


def preprocessing_of(model: nn.Module) -> Preprocessing:
    """Read from a model's ``pretrained_cfg`` how its images are prepared.

    A model of one channel takes gray pictures, also where its configuration still describes colour.

    Raises:
        ValueError: If the model takes neither gray nor colour pictures.
    """
    preprocessing = Preprocessing.from_pretrained_cfg(cast(dict[str, object], getattr(model, "pretrained_cfg", {})))
    channels, *size = preprocessing.input_size
    wanted = getattr(model, "in_chans", channels)
    if wanted == channels:
        return preprocessing
    if wanted != 1:
        raise ValueError(
            f"{type(model).__name__} takes images of {wanted} channels; pictures have 3, or 1 in gray. "
            "Call the model itself with tensors"
        )
    mean, std = (sum(values) / channels for values in (preprocessing.mean, preprocessing.std))
    return Preprocessing((1, size[0], size[1]), (mean,), (std,), preprocessing.interpolation, preprocessing.crop_pct)


def class_names_of(model: nn.Module) -> tuple[str, ...]:
    """Name a model's classes: by its checkpoint, else those of ImageNet-1k for 1,000 classes, else by number."""
    names = getattr(model, "pretrained_cfg", {}).get("label_names")
    if names:
        return tuple(names)
    num_classes = cast(int, model.num_classes)
    if num_classes == NUM_IMAGENET_CLASSES:
        return tuple(synonyms.split(", ")[0] for synonyms in ImageNetInfo().label_descriptions())
    return tuple(f"class {index}" for index in range(num_classes))


def _is_path(model: str | Path) -> bool:
    """Tell a checkpoint's path from a name of the catalog."""
    return isinstance(model, Path) or Path(model).suffix in (".safetensors", ".pth") or Path(model).is_file()
