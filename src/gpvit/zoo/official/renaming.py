"""Renaming by tables of patterns, for the authors' names."""

import re

import torch

Weights = dict[str, torch.Tensor]
Renaming = tuple[tuple[str, str], ...]
"""Patterns of names without their last part, tried in this order, and what takes their place."""

_LEAF = r"((?:\.conv|\.bn)?(?:\.(?:weight|bias|running_mean|running_var|num_batches_tracked))?)$"


def first_match(table: Renaming, name: str, prefix: str = "") -> str | None:
    """Rename by the first pattern that fits, None if none does; what the authors call ``bn`` is ``norm`` here."""
    for pattern, replacement in table:
        if match := re.match(pattern + _LEAF, name):
            return prefix + match.expand(replacement) + match[match.re.groups].replace(".bn.", ".norm.")
    return None
