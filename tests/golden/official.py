"""The authors' models as the tests see them: names, shapes and counts, filled weights, inputs and outputs."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from golden import fill

FOLDER = Path(__file__).parent
IMAGES = {
    "sq": ("cls_sq", (2, 3, 224, 224)),
    "rect": ("cls_rect", (1, 3, 256, 320)),
    "seg": ("seg_small", (1, 3, 128, 160)),
}


@cache
def entries(system: str) -> tuple[tuple[str, tuple[int, ...], str], ...]:
    """Name, shape and dtype of each entry of a state dict of the authors, as ``cls_L1``, in their order."""
    content = json.loads((FOLDER / "keys" / f"{system}.json").read_text())
    return tuple((name, tuple(shape), dtype) for name, shape, dtype in content["state_dict"])


def state_dict(system: str) -> dict[str, torch.Tensor]:
    """The authors' state dict with every entry filled by the rule; tensors are shared, do not write to them."""
    return dict(_filled(system))


@cache
def _filled(system: str) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(fill.weight(name, shape)) for name, shape, _ in entries(system)}


def meta_state_dict(system: str) -> dict[str, torch.Tensor]:
    """The authors' state dict without values, for what only names and shapes matter to."""
    return {
        name: torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for name, shape, dtype in entries(system)
    }


def checkpoint(system: str, path: Path) -> Path:
    """Write a file like those of the authors' release."""
    torch.save({"meta": {"epoch": 300, "mmcls_version": "0.20.1"}, "state_dict": state_dict(system)}, path)
    return path


def image(name: str) -> torch.Tensor:
    """Image batch of a golden file: of classification ``sq`` or ``rect``, of segmentation ``seg``."""
    return torch.from_numpy(fill.image(*IMAGES[name]))


def outputs(name: str) -> dict[str, np.ndarray]:
    """Arrays of a golden file, as ``cls_L1_sq``."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return dict(arrays)


def parameter_counts() -> dict:
    """Exact parameter counts by task, size and part."""
    return json.loads((FOLDER / "param_counts.json").read_text())


def macs() -> dict:
    """Exact multiply-accumulates by task and size."""
    return json.loads((FOLDER / "macs.json").read_text())
