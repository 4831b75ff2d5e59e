"""Training with kernels that torch.compile makes."""

from torch import nn

from gpvit.devices import require_compiler


def compile_network(network: nn.Module) -> None:
    """Have torch compile a network in place when it first runs; names and values of its weights stay.

    Of segmenters and detectors, which training does not call as one function of a tensor, every part is compiled that
    is one: backbone with pyramid, decoder, auxiliary head. What detectors do with single objects stays as it is.

    Args:
        network: A model of the catalog.

    Raises:
        FileNotFoundError: If there is no C++ compiler.
    """
    require_compiler()
    parts = {"segmentation": ("backbone", "decoder", "auxiliary"), "detection": ("backbone",)}
    names = parts.get(getattr(network, "task", ""))
    for part in [network] if names is None else [getattr(network, name, None) for name in names]:
        if part is not None:
            part.compile()
