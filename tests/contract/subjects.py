"""Models and images that the contract is tested on."""

import pytest
import timm
import torch

import gpvit  # noqa: F401  timm learns the models
from gpvit.models.variants import VARIANTS, layout

SMALL = ("gpvit_nano", "gpvit_tiny")
EVERY_MODEL = [pytest.param(n, marks=[pytest.mark.slow] * n.endswith(("l2", "l3", "l4"))) for n in VARIANTS]
"""All sizes; those above L1, which differ from it in width alone, take their turn in the slow run."""


def build(name: str, seed: int = 0, **kwargs) -> torch.nn.Module:
    torch.manual_seed(seed)
    return timm.create_model(name, **kwargs)


def build_short(name: str, seed: int = 0, **kwargs) -> torch.nn.Module:
    """Build a size at its real width; the paper's with their first three blocks only, where all would take long."""
    if name not in SMALL:
        kwargs["blocks"] = VARIANTS[name].get("blocks", layout())[:3]
    return build(name, seed, **kwargs)


def images(batch: int = 2, height: int = 64, width: int = 48, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * width)
    return torch.randn(batch, channels, height, width, generator=generator)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference, as a part of the largest value."""
    assert a.shape == b.shape
    return ((a - b).abs().max() / b.abs().max()).item()
