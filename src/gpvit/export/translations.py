"""Our operators in ONNX, for ``torch.onnx.export``."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from gpvit.models.detection.fitting import DIVISOR, fit_and_pad  # noqa: F401  torch learns the operator
from gpvit.ops.suppression import ABSENT, suppress  # noqa: F401  torch learns the operator


def onnx_translations() -> dict[Any, Callable[..., Any]]:
    """Return what ``torch.onnx.export`` takes as ``custom_translation_table``."""
    return {torch.ops.gpvit.suppress.default: _suppress, torch.ops.gpvit.fit_and_pad.default: _fit_and_pad}


def _operators() -> Any:  # whose types say of each the dozens of tensors that it may be
    from onnxscript import opset18

    return opset18


def _suppress(boxes: Any, scores: Any, overlap: float) -> Any:
    op = _operators()
    # Suppressed are overlaps above the limit in ONNX Runtime and torchvision, but from the limit on in OpenVINO. With
    # the next larger number, boxes that overlap by 1/2 or 7/10 to the last bit are kept everywhere.
    limit = np.nextafter(np.float32(overlap), np.float32(2))
    selected = op.NonMaxSuppression(
        boxes,
        scores,
        op.Constant(value_int=2**31 - 1),
        op.Constant(value_float=float(limit)),
        op.Constant(value_float=ABSENT / 2),
    )
    nothing = op.Expand(op.Constant(value_float=ABSENT), op.Shape(scores))
    return op.ScatterND(nothing, selected, op.GatherND(scores, selected))


def _fit_and_pad(images: Any, sides: Sequence[int]) -> Any:
    from onnxscript import FLOAT

    op = _operators()
    size = op.Shape(images, start=2)
    if sides:
        size = _fitted_size(size, *sides)
        shape = op.Concat(op.Shape(images, end=2), size, axis=0)
        images = op.Resize(images, None, None, shape, mode="linear", coordinate_transformation_mode="half_pixel")
    divisor = op.Constant(value_ints=[DIVISOR])
    pads = op.Mod(op.Sub(divisor, op.Mod(size, divisor)), divisor)
    padded = op.Pad(images, op.Concat(op.Constant(value_ints=[0] * 6), pads, axis=0))
    return padded, op.Cast(size, to=FLOAT.dtype)


def _fitted_size(size: Any, *sides: int) -> Any:
    """Do as ``fitted_size``, in float64 as it does, but where OpenVINO gets float64 wrong."""
    from onnxscript import DOUBLE, INT64

    op = _operators()
    least, most = op.ReduceMin(size, keepdims=1), op.ReduceMax(size, keepdims=1)
    short, long, one = (op.Constant(value_ints=[side]) for side in (*sides, 1))
    fits_short = op.LessOrEqual(op.Mul(short, most), op.Mul(long, least))
    wanted, given = op.Where(fits_short, short, long), op.Where(fits_short, least, most)
    size, wanted, given = (op.Cast(x, to=DOUBLE.dtype) for x in (size, wanted, given))
    half = op.Cast(op.Constant(value_float=0.5), to=DOUBLE.dtype)
    rounded = op.Floor(op.Add(op.Mul(size, op.Div(wanted, given)), half))
    return op.Max(op.Cast(rounded, to=INT64.dtype), one)
