"""Model, loss, optimiser and metric together: what a training step and an evaluation mean."""

from importlib import import_module
from typing import Any

_HOMES = {
    "ClassificationTask": "classification",
    "WeightsWriter": "weights",
    "build_trainer": "training",
    "evaluate_classifier": "evaluation",
    "fit": "training",
    "train_recipe": "recipes",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
