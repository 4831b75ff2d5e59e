"""Training checkpoints of mmcv and mmengine, the frameworks of the authors' code: what they hold beside the weights.

That is the optimizer, which is left out, and in ``meta`` the classes, their colours and the whole configuration as a
text, of which the normalisation of images is read; nothing of it is run.
"""

import ast
import sys
from typing import Any

import numpy as np
import torch

from gpvit.errors import UserError

_REBUILD = [(type(value).__name__, value.__reduce__()[0]) for value in (np.float64(), np.zeros(0))]
HARMLESS: list[Any] = [
    np.ndarray,
    np.dtype,
    *{type(np.dtype(code)) for code in "?bBhHiIlLqQefdSU"},
    # numpy calls one module by two names, by its version
    *((_REBUILD[0][1], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((_REBUILD[1][1], f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
]
"""What such files are made of beside tensors and plain data, and no more than that: numbers of numpy."""

_BENCHMARKS = {"tench": 1000, "wall": 150, "person": 80}
"""First class and number of those of ImageNet-1k, ADE20K and COCO, which have their names and colours here already."""


def without_averages(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Leave out the second copy of the weights that an EMA hook of mmcv keeps, as the frameworks' own tools do."""
    copies = {f"ema_{name.replace('.', '_')}" for name in state_dict} & state_dict.keys()
    if copies:
        print(f"left out: {len(copies)} entries ema_*, which an EMA hook exchanges with the others", file=sys.stderr)
    return {name: tensor for name, tensor in state_dict.items() if name not in copies}


def inputs_of(content: dict[str, Any]) -> dict[str, Any]:
    """Read names and colours of the classes, and mean and std of the images, as far as a checkpoint tells them."""
    meta = content.get("meta")
    if not isinstance(meta, dict):
        return {}
    dataset = meta.get("dataset_meta")
    told = {
        str(key).lower(): value for key, value in {**meta, **(dataset if isinstance(dataset, dict) else {})}.items()
    }
    inputs = _normalisation(told.get("config") or told.get("cfg"))
    names, colors = told.get("classes"), told.get("palette")
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) and name for name in names):
        return inputs
    if _BENCHMARKS.get(names[0].partition(",")[0]) == len(names):
        return inputs
    inputs["label_names"] = list(names)
    if isinstance(colors, np.ndarray | list | tuple) and np.shape(colors) == (len(names), 3):
        inputs["label_colors"] = np.asarray(colors).astype(int).tolist()
    return inputs


def _normalisation(config: Any) -> dict[str, Any]:
    """Find how a configuration normalises images; a text that is none, or of several ways, says nothing."""
    try:
        tree = ast.parse(config)
    except (TypeError, ValueError, SyntaxError, RecursionError, MemoryError):
        return {}
    found = []
    for node in ast.walk(tree):
        given = {each.arg: each.value for each in node.keywords} if isinstance(node, ast.Call) else {}
        if {"mean", "std"} <= given.keys():
            try:
                facts = {key: ast.literal_eval(value) for key, value in given.items()}
            except ValueError:  # names in place of numbers
                continue
            found += [facts] if all(_are_bytes(facts[key]) for key in ("mean", "std")) else []
    ways = {(*facts["mean"], *facts["std"]): facts for facts in found}
    if len(ways) != 1:
        return {}
    (facts,) = ways.values()
    if facts.get("to_rgb", facts.get("bgr_to_rgb")) is False and len(facts["mean"]) == 3:
        raise UserError("is of a network for images in the order blue, green, red, which none here takes")
    return {key: [round(value / 255, 6) for value in facts[key]] for key in ("mean", "std")}


def _are_bytes(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(v, int | float) for v in value)
