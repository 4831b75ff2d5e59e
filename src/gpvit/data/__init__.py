"""From bytes to tensors: images, preprocessing, data modules and the real data that ships with the dependencies."""

from importlib import import_module
from typing import Any

_HOMES = {
    "Augmentation": "preprocessing",
    "ClassificationData": "classification",
    "Digits": "digits",
    "ImageError": "images",
    "ImageFolder": "folders",
    "Preprocessing": "preprocessing",
    "Shards": "shards",
    "digits_split": "digits",
    "list_images": "images",
    "load_photograph": "photographs",
    "photograph_credit": "photographs",
    "photograph_names": "photographs",
    "read_image": "images",
    "training_transform": "preprocessing",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
