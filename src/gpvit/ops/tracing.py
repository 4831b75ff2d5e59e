"""Whether a forward pass is recorded as a graph, in which no branch may hang on what happens to be seen."""

import torch


def is_recorded(x: torch.Tensor) -> bool:
    """Tell whether what is done to a tensor becomes a graph: compiled, exported, traced or symbolically traced."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or not isinstance(x, torch.Tensor)


def is_for_any_size(x: torch.Tensor) -> bool:
    """Tell whether the graph that is recorded must serve images of every size: exported or symbolically traced."""
    return torch.compiler.is_exporting() or not isinstance(x, torch.Tensor)
