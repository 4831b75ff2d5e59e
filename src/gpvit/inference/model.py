"""What inference needs to know of a model: its preprocessing and its classes."""

from typing import cast

from timm.data import ImageNetInfo
from torch import nn

from gpvit.data.preprocessing import Preprocessing

NUM_IMAGENET_CLASSES = 1000


def preprocessing_of(model: nn.Module) -> Preprocessing:
    """Read from a model how its images are prepared: its ``pretrained_cfg``, in gray for a model of one channel.

    Raises:
        ValueError: If the model takes neither gray nor colour pictures.
    """
    cfg = cast(dict[str, object], getattr(model, "pretrained_cfg", {}))
    return Preprocessing.from_pretrained_cfg(cfg, cast(int | None, getattr(model, "in_chans", None)))


def class_names_of(model: nn.Module) -> tuple[str, ...]:
    """Name a model's classes: by its checkpoint, else those of ImageNet-1k for 1,000 classes, else by number."""
    names = getattr(model, "pretrained_cfg", {}).get("label_names")
    if names:
        return tuple(names)
    num_classes = cast(int, model.num_classes)
    if num_classes == NUM_IMAGENET_CLASSES:
        return tuple(synonyms.split(", ")[0] for synonyms in ImageNetInfo().label_descriptions())
    return tuple(f"class {index}" for index in range(num_classes))
