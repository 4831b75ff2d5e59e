"""What is measured: single blocks on a grid of tokens, and whole models on an image."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gpvit.models.backbone import STRIDE
from gpvit.models.variants import build_block
from gpvit.profile.cost import profile_model
from gpvit.profile.workload import Precision, create_for_size, memory_errors

DIM = 216


@dataclass(frozen=True)
class Subject:
    """A block of GPViT-L1's width, or a model, with fresh weights; it is given one square image.

    Args:
        label: What it is called; of a model, its name.
        block: Kind and arguments of the block, as in a layout; None for a model.
        patch: Pixels of a token's side.
    """

    label: str
    block: Mapping[str, Any] | None = None
    patch: int = STRIDE

    def tokens(self, size: int) -> int:
        """Return how many tokens an image of a side in pixels has."""
        return (size // self.patch) ** 2

    def create(self) -> nn.Module:
        """Create it, in evaluation mode."""
        torch.manual_seed(0)
        if self.block is None:
            return create_for_size(self.label, (224, 224)).eval()
        return build_block(self.block, dim=DIM).eval()

    def inputs(self, size: int, device: str) -> torch.Tensor:
        """Draw an image ``(1, 3, size, size)``, or for a block its tokens ``(1, H, W, C)``."""
        grid = size // self.patch
        shape = (1, 3, size, size) if self.block is None else (1, grid, grid, DIM)
        return torch.randn(shape, device=device)

    def macs(self, module: nn.Module, size: int) -> int:
        """Count the multiply-accumulates of a forward pass of what `create` returned, attention products included."""
        _, channels, *sides = self.inputs(size, "meta").shape  # what profile_model takes for channels may be rows
        return profile_model(module, (sides[0], sides[1]), channels).macs


BLOCKS = (
    Subject("GP, M = 64", {"kind": "group", "num_groups": 64, "num_heads": 6}),
    Subject("GP, M = 16", {"kind": "group", "num_groups": 16, "num_heads": 6}),
    Subject("local stripes", {"kind": "local", "num_heads": 12}),
    Subject("windows", {"kind": "window", "num_heads": 12}),
    Subject("global attention", {"kind": "global", "num_heads": 6}),
)
"""Heads are GPViT-L1's; global attention stands in the place of group propagation and has as many as that."""

MODELS = (Subject("gpvit_l1"), Subject("vit_d216_p16", patch=16), Subject("vit_d216_p8"))
"""The first is the one that the others are compared with."""

QUICK_MODELS = (Subject("gpvit_nano"), MODELS[1])


def forward_step(module: nn.Module, inputs: torch.Tensor, dtype: Precision) -> Callable[[], None]:
    """Return the function that runs a module once, for inference, and waits for its end.

    The returned function raises MemoryError where the step does not fit into memory.

    Args:
        module: In evaluation mode.
        inputs: What it is given, on its device.
        dtype: Precision; bfloat16 is autocast over float32 weights.
    """
    device = inputs.device

    @memory_errors()
    def step() -> None:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"),
        ):
            module(inputs)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step
