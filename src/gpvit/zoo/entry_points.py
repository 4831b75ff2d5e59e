"""How a model of ours gets a name in timm."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from timm.models import register_model
from torch import nn

from gpvit.zoo.catalog import RELEASE

_SOURCES = ("url", "file", "state_dict", "hf_hub_id")


def add_entry_point(module: str, name: str, create: Callable[..., nn.Module]) -> None:
    """Make timm create a model by its name; timm lists it as one of a module, which holds its ``default_cfgs``.

    Args:
        module: Full name of the module.
        name: The model's name.
        create: Called with the name, timm's ``pretrained`` and what else ``timm.create_model`` is given, but for
            ``device`` and ``dtype``, which the model comes with.
    """

    def entry_point(pretrained: bool = False, device: Any = None, dtype: Any = None, **kwargs: Any) -> nn.Module:
        with nullcontext() if device is None else torch.device(device):
            return create(name, pretrained, **kwargs).to(dtype=dtype)

    entry_point.__name__ = entry_point.__qualname__ = name
    entry_point.__module__ = module
    entry_point.__doc__ = create.__doc__
    vars(sys.modules[module])[name] = register_model(entry_point)


def names_weights(config: Any) -> bool:
    """Tell whether a configuration, as timm hands it on, names other weights than those published for a model."""
    given = config if isinstance(config, dict) else getattr(config, "__dict__", {})
    return any(given.get(key) and not str(given[key]).startswith(RELEASE) for key in _SOURCES)
