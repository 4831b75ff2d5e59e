"""A recorded graph as one ONNX file."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx_ir.passes.common as passes
import torch
from onnxscript.optimizer import fold_constants
from torch.export import ExportedProgram

from gpvit.export.graphs import INPUT
from gpvit.export.suppression import onnx_translations

OPSETS = range(18, 24)
"""Versions of the operators that a file may be written in: what the exporter knows, and ONNX Runtime runs."""


def to_onnx(program: ExportedProgram, output_names: tuple[str, ...], opset: int) -> bytes:
    """Write a recorded graph in ONNX: one file, whose weights are inside."""
    example, options = tuple(program.example_inputs[0]), {"input_names": [INPUT], "output_names": list(output_names)}
    with _quietly():
        written = torch.onnx.export(
            program,
            example,
            dynamo=True,
            opset_version=opset,
            optimize=False,
            verbose=False,
            custom_translation_table=onnx_translations(),
            **options,
        )
        assert written is not None
        _tidy(written.model)
    proto = written.model_proto
    return proto.SerializeToString()


def _tidy(model: Any) -> None:
    """Compute what is constant, remove what is unused or there twice, and say nothing of the machine that wrote it.

    The exporter's own `optimize` tries some hundred rules of rewriting as well, which takes longer than all else here
    and changes nothing that a runtime would not.
    """
    passes.InlinePass()(model)
    fold_constants(model)
    for tidy in (
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),
        passes.RemoveUnusedOpsetsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.ClearMetadataAndDocStringPass(),
        passes.NameFixPass(),
    ):
        tidy(model)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep the exporter's remarks on its own workings from users."""
    logger = logging.getLogger("onnxscript")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
