"""Models and images that the contract is tested on."""

import timm
import torch

import gpvit  # noqa: F401  timm learns the models

SMALL = ("gpvit_nano", "gpvit_tiny")


def build(name: str, seed: int = 0, **kwargs) -> torch.nn.Module:
    torch.manual_seed(seed)
    return timm.create_model(name, **kwargs)


def images(batch: int = 2, height: int = 64, width: int = 48, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * width)
    return torch.randn(batch, channels, height, width, generator=generator)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference, as a part of the largest value."""
    assert a.shape == b.shape
    return ((a - b).abs().max() / b.abs().max()).item()
