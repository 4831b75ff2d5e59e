"""A graph of a model for images of any number and size, or of one size, as ``torch.export`` records it."""

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from gpvit.errors import UserError

_ODD = (150, 203)  # not square, no multiple of anything, and no map of 1x1: what holds for this example is a rule


def trace(graph: nn.Module, in_chans: int, uint8: bool, fixed: tuple[int, int] | None = None) -> ExportedProgram:
    """Record a graph for any number of images, and for any height and width or for those that are fixed.

    Raises:
        UserError: The network takes images of one size alone, or of some sizes only.
    """
    height, width = fixed or _ODD
    shape = (2, height, width, in_chans) if uint8 else (2, in_chans, height, width)
    example = torch.zeros(shape, dtype=torch.uint8) if uint8 else torch.zeros(shape)
    sides = (1, 2) if uint8 else (2, 3)
    free = {0: Dim.DYNAMIC} | ({} if fixed else dict.fromkeys(sides, Dim.DYNAMIC))
    with torch.no_grad():
        _try(graph, example, fixed)
        try:
            return torch.export.export(graph, (example,), dynamic_shapes=(free,), strict=False)
        except (torch._dynamo.exc.UserError, ValueError) as error:  # a size that the graph cannot leave free
            if fixed:
                raise
            raise UserError(
                f"the network cannot be recorded for images of every size; fix one: --fixed 224x224 ({error})"
            ) from error


def _try(graph: nn.Module, example: torch.Tensor, fixed: tuple[int, int] | None) -> None:
    """Run the network once: what it refuses is told in its own words, which a recording would bury."""
    try:
        graph(example)
    except Exception as error:  # networks of other packages raise anything
        size = "x".join(map(str, fixed or _ODD))
        remedy = "give another size" if fixed else "give the size that it takes: --fixed 224x224"
        raise UserError(f"the network takes no images of {size}; {remedy} ({error})") from error
