"""What the tables count: parameters and multiply-accumulates of one image, from shapes alone."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from gpvit.profile.cost import Cost, profile_model
from gpvit.profile.workload import create_for_size
from studies.tables.table import Column

COUNTED = (
    Column("params_m", "M params", 2),
    Column("gmacs", "GMACs", 2),
    Column("gmacs_without_attention", "without attention", 2),
)

CONVENTION = (
    "Counted here: M params, millions of parameters; GMACs, billions of multiply-accumulates of one image in"
    " convolutions, linear layers and attention's products (query with key, weights with values); without attention,"
    " the same without those products."
)


def count(build: Callable[[], nn.Module], size: tuple[int, int]) -> Cost:
    """Count a model without giving it memory.

    Args:
        build: Creates the model.
        size: Image height and width in pixels.
    """
    with torch.device("meta"):
        model = build()
    return profile_model(model, size)


def count_by_name(name: str, size: tuple[int, int]) -> Cost:
    """Count a model of this package or of timm.

    Args:
        name: What it is created by.
        size: Image height and width in pixels.
    """
    return count(partial(create_for_size, name, size), size)


def counted_cells(cost: Cost) -> dict[str, float]:
    """Return the cells of the columns ``COUNTED``."""
    return {
        "params_m": cost.parameters / 1e6,
        "gmacs": cost.macs / 1e9,
        "gmacs_without_attention": cost.macs_without_attention / 1e9,
    }
