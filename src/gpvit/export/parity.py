"""The gate of every export: the file, run as its users run it, against the model in torch, on photographs and noise.

Four sizes, two of them odd, or the one that is fixed; one image, and a batch of three, at each: so all photographs that
the installed packages carry are seen, and noise four times. What is compared is every output: the largest difference,
as a part of the largest value, and how much of what follows from it, classes and labels, is the same.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from copy import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.v2 import functional as F

from gpvit.data.synthetic.photographs import load_photograph, photograph_names
from gpvit.errors import UserError
from gpvit.export.matching import Found, compare_detections
from gpvit.layers.group_propagation import GroupMaps
from gpvit.models.backbone import backbone_of
from gpvit.models.detection.inputs import DIVISOR
from gpvit.models.group_maps import keeping_group_maps
from gpvit.runtime.metadata import Metadata

Answer = tuple[torch.Tensor, torch.Tensor | None]
"""An output's values, and the scores ``(B, K, ...)`` by which classes are chosen, where any are."""
Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""Runs an exported file: a batch of images to its outputs by name."""


class Tolerance(NamedTuple):
    """What a precision may cost.

    Attributes:
        difference: Of values, as a part of the largest one; of boxes as a part of the image's side; of masks ten times
            as much.
        agreement: Least part of classes and labels that are the same. Those that torch itself holds for nearly as
            likely, by twice the difference allowed, are.
        overlap: Least intersection over union of boxes that are one object.
        matches: Least part of objects that both find.
    """

    difference: float
    agreement: float
    overlap: float
    matches: float


TOLERANCES = {
    "fp32": Tolerance(1e-4, 1.0, 0.99, 0.99),
    "fp16": Tolerance(2e-2, 0.99, 0.9, 0.9),
    "bf16": Tolerance(1e-1, 0.95, 0.75, 0.7),
    "int8": Tolerance(float("inf"), 0.0, 0.5, 0.0),  # whose score is measured instead
}

_SIZES = ((64, 96), (97, 131), (200, 333))
_LARGEST = 512  # side of the network's own size, which is the fourth


def check_parity(run: Run, model: nn.Module, metadata: Metadata) -> list[dict[str, Any]]:
    """Compare an exported file with its model, and return a row for each size, batch and output.

    Raises:
        UserError: An output is beyond the tolerance of the file's precision, or not finite.
    """
    tolerance, rows = TOLERANCES[metadata.precision], []
    for images in _batches(metadata):
        expected, objects = _reference(model, torch.from_numpy(images), metadata)
        found = {name: torch.from_numpy(values) for name, values in run(images).items()}
        measured = {
            name: _compare(found[name], answer, tolerance) for name, answer in expected.items() if name in found
        }
        size = images.shape[1:3] if metadata.input == "uint8" else images.shape[2:]
        if metadata.task == "detection":
            measured |= _compare_objects(found, objects, max(size), metadata, tolerance)
        for name in metadata.outputs:
            row = {"size": "x".join(map(str, size)), "batch": len(images), "output": name}
            rows.append({**row, **measured[name]})
            _require(rows[-1], metadata.precision, tolerance)
    if metadata.task == "detection" and not any(row.get("objects") for row in rows):
        warnings.warn("the model finds nothing in the photographs, so that no boxes could be compared", stacklevel=3)
    return rows


def _compare_objects(
    found: Found, expected: list[Found], side: int, metadata: Metadata, tolerance: Tolerance
) -> dict[str, dict[str, float]]:
    """Measure the outputs of a detector; differences of boxes are parts of the image's side."""
    limits = metadata.thresholds
    own = {name: values for name, values in found.items() if name in ("boxes", "labels", "scores", "masks")}
    margin = 2 * tolerance.difference
    rows = compare_detections(own, expected, tolerance.overlap, margin, int(limits["detections"]), limits["score"])
    rows["boxes"]["difference"] /= side
    return rows


def _compare(found: torch.Tensor, expected: Answer, tolerance: Tolerance) -> dict[str, float]:
    """Measure the difference of an output, and the agreement of the classes that are chosen by it."""
    values, scores = expected
    row: dict[str, float] = {}
    if found.shape != values.shape:
        raise UserError(f"the exported graph answers with the shape {tuple(found.shape)}, not {tuple(values.shape)}")
    if values.is_floating_point():
        row["difference"] = _difference(found, values)
    if scores is not None:
        best, second = scores.topk(2, dim=1).values.unbind(1) if scores.shape[1] > 1 else (scores[:, 0],) * 2
        tied = best - second <= 2 * tolerance.difference * scores.abs().amax()
        chosen = found.argmax(dim=1) if found.is_floating_point() else found
        row["agreement"] = float(((chosen == scores.argmax(dim=1)) | tied).double().mean())
    return row


def _difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference as a part of the largest value; infinite where a value is not finite."""
    difference = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30))
    return difference if found.isfinite().all() else float("inf")


def _require(row: dict[str, Any], precision: str, tolerance: Tolerance) -> None:
    where = f"{row['output']} of {row['batch']} image(s) of {row['size']} pixels"
    if row.get("difference", 0.0) == float("inf"):
        raise UserError(f"{where}: not finite in {precision}; export in fp32. No file was written")
    # What is seen within a box changes with its corners, which may be some thousandths of the box apart.
    allowed = tolerance.difference * (10 if row["output"] == "masks" else 1)
    if row.get("difference", 0.0) > allowed:
        raise UserError(
            f"{where}: the exported graph is off by {row['difference']:.1e} of the largest value, and "
            f"{allowed:.0e} is allowed in {precision}. No file was written"
        )
    needed = tolerance.matches if "objects" in row else tolerance.agreement
    if row.get("agreement", 1.0) < needed:
        raise UserError(
            f"{where}: {row['agreement']:.2%} agree with the model, and {needed:.0%} are needed in "
            f"{precision}. No file was written"
        )


def _batches(metadata: Metadata) -> Iterator[np.ndarray]:
    """Give batches of one and of three images, the last of these noise, of every size."""
    names, noise, taken = photograph_names(), np.random.default_rng(0), 0
    height, width = (min(side, _LARGEST) for side in metadata.preprocessing["input_size"][1:])
    sizes = [(height, width), *_SIZES]
    if metadata.fixed_size is not None:
        sizes = [(metadata.fixed_size[0], metadata.fixed_size[1])] * 4
    for size in sizes:
        photographs = [_pixels(names[(taken + i) % len(names)], size, metadata.in_chans) for i in range(3)]
        taken += 3
        grain = noise.integers(0, 256, photographs[0].shape, dtype=np.uint8)
        yield _prepared(np.stack(photographs[:1]), metadata)
        # A detector enlarges bytes of every size to one, which takes seconds for each image.
        if size == sizes[0] or metadata.task != "detection" or metadata.input == "float":
            yield _prepared(np.stack([*photographs[1:], grain]), metadata)


def _pixels(name: str, size: tuple[int, int], channels: int) -> np.ndarray:
    """Load a photograph at a size, ``(height, width, channels)``; beyond three, channels repeat themselves."""
    photograph = load_photograph(name).resize(size[::-1], Image.Resampling.BICUBIC)
    pixels = np.asarray(photograph.convert("L"))[..., None] if channels == 1 else np.asarray(photograph)
    return pixels[..., np.arange(channels) % pixels.shape[2]]


def _prepared(pixels: np.ndarray, metadata: Metadata) -> np.ndarray:
    """Turn bytes ``(B, H, W, C)`` into what the graph takes."""
    if metadata.input == "uint8":
        return pixels
    floats = F.to_dtype(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.float32, scale=True)
    mean, std = (metadata.preprocessing[key] for key in ("mean", "std"))
    channels = [i % len(mean) for i in range(metadata.in_chans)]
    return F.normalize(floats, [mean[i] for i in channels], [std[i] for i in channels]).contiguous().numpy()


@torch.inference_mode()
def _reference(model: Any, images: torch.Tensor, metadata: Metadata) -> tuple[dict[str, Answer], list[Found]]:
    """Compute with the model itself the outputs of a graph, by name, and of a detector what it finds in each image."""
    maps: dict[int, GroupMaps] = {}
    with_groups = any(name.startswith("grouping_") for name in metadata.outputs)
    with keeping_group_maps(backbone_of(model)) if with_groups else nullcontext(maps) as maps:
        if metadata.task == "detection":
            answers, found = {}, _detect(model, images, metadata)
        else:
            answers, found = _answer(model, images, metadata), []
    for index, both in maps.items():
        answers |= {f"grouping_{index}": (both.grouping, None), f"ungrouping_{index}": (both.ungrouping, None)}
    return answers, found


def _answer(model: Any, images: torch.Tensor, metadata: Metadata) -> dict[str, Answer]:
    if metadata.input == "uint8":
        floats = F.to_dtype(images.permute(0, 3, 1, 2), torch.float32, scale=True)
        images = F.normalize(floats, metadata.preprocessing["mean"], metadata.preprocessing["std"])
    name = metadata.outputs[0]
    logits = model.forward_low(images) if (metadata.task, name) == ("segmentation", "logits") else model(images)
    if name == "labels":
        return {name: (logits.argmax(dim=1), logits)}
    values = logits.softmax(dim=1) if name == "probabilities" else logits
    return {name: (values, values)}


def _detect(model: Any, images: torch.Tensor, metadata: Metadata) -> list[Found]:
    """Find objects; normalised floats are neither resized nor normalised again, but padded."""
    model = copy(model)
    model.mask_format = "box"  # of the copy alone
    if metadata.input == "uint8":
        return list(model(list(F.to_dtype(images.permute(0, 3, 1, 2), torch.float32, scale=True))))
    height, width = images.shape[2:]
    padded = F.pad(images, [0, 0, -width % DIVISOR, -height % DIVISOR])
    sizes = [(height, width)] * len(images)
    return list(model.detect(list(model.backbone(padded).values()), sizes, sizes))
