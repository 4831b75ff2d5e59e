"""Non-maximum suppression in ONNX, which knows it by boxes and classes too."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from gpvit.ops.suppression import ABSENT, suppress  # noqa: F401  torch learns the operator


def onnx_translations() -> dict[Any, Callable[..., Any]]:
    """Return what ``torch.onnx.export`` takes as ``custom_translation_table``."""
    from onnxscript import opset18 as op

    def translated(boxes: Any, scores: Any, overlap: float) -> Any:
        # Suppressed are overlaps above the limit in ONNX Runtime and torchvision, but from the limit on in OpenVINO.
        # With the next larger number, boxes that overlap by 1/2 or 7/10 to the last bit are kept everywhere.
        limit = float(np.nextafter(np.float32(overlap), np.float32(2)))
        selected = op.NonMaxSuppression(
            boxes,
            scores,
            op.Constant(value_int=2**31 - 1),
            op.Constant(value_float=limit),
            op.Constant(value_float=ABSENT / 2),
        )
        nothing = op.Expand(op.Constant(value_float=ABSENT), op.Shape(scores))
        return op.ScatterND(nothing, selected, op.GatherND(scores, selected))

    return {torch.ops.gpvit.suppress.default: translated}
