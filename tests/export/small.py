"""A classifier that is exported in seconds."""

import torch

import gpvit
from gpvit.models.variants import VARIANTS


def small(**kwargs) -> torch.nn.Module:
    """A local block and a group propagation block."""
    return gpvit.create_model("gpvit_nano", num_classes=5, blocks=VARIANTS["gpvit_nano"]["blocks"][:2], **kwargs).eval()
