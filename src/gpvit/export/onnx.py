"""A recorded graph as one ONNX file."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import onnx_ir.passes.common as passes
import torch
from onnxscript.optimizer import fold_constants
from torch.export import ExportedProgram

from gpvit.export.suppression import onnx_translations
from gpvit.runtime.sessions import INPUT


def to_onnx(program: ExportedProgram, output_names: tuple[str, ...], opset: int) -> onnx.ModelProto:
    """Write a recorded graph in ONNX: one file, whose weights are inside."""
    example, options = tuple(program.example_inputs[0]), {"input_names": [INPUT], "output_names": list(output_names)}
    with quietly():
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
    return written.model_proto


def _tidy(model: Any) -> None:
    """Compute what is constant, remove what is unused or there twice, and name nodes by their modules.

    Nothing else is said of where they come from, which would name paths of the machine that wrote the file.

    The exporter's own `optimize` tries some hundred rules of rewriting as well, which takes longer than all else here
    and changes nothing that a runtime would not.
    """
    passes.InlinePass()(model)
    fold_constants(model)
    for node in model.graph:
        scopes = re.findall(r"'([^']*)'", node.metadata_props.get("pkg.torch.onnx.name_scopes", ""))
        node.name = "/".join([*scopes[-2:-1], node.op_type])
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
def quietly() -> Iterator[None]:
    """Keep the remarks of exporters and quantisers on their own workings from users."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
