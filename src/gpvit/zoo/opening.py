"""Opens a model by whatever names it: a name, a name with a tag, a file."""

from pathlib import Path

from torch import nn

from gpvit.errors import UserError
from gpvit.zoo.catalog import create_model
from gpvit.zoo.files import load


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
        raise UserError(f"{model} brings its own weights; leave out {str(weights)!r}, or name a model of the catalog")
    return load(model)


def is_untrained(model: str | Path, weights: str | Path | None = None) -> bool:
    """Tell whether :func:`open_model` would start this model from random values."""
    return weights is None and not _is_path(model) and "." not in str(model)


def _is_path(model: str | Path) -> bool:
    """Tell a checkpoint's path from a name of the catalog."""
    return isinstance(model, Path) or Path(model).suffix in (".safetensors", ".pth", ".ckpt") or Path(model).is_file()
