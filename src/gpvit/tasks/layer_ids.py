"""The pretrained transformer inside any network, and how deep in it each parameter lies."""

from typing import Any

from timm.models import group_parameters
from torch import nn

from gpvit.errors import UserError

_PLACES = ("backbone.body.backbone", "backbone.model", "backbone")  # in detectors; in segmenters, with timm's wrapper


def find_transformer(network: nn.Module) -> tuple[str, Any]:
    """Find what classification has pretrained in a network.

    Args:
        network: A classifier, which is that itself, a segmenter or a detector, whose adapter is not part of it.

    Returns:
        What the names of its parameters start with in the network, and the module.
    """
    modules = dict(network.named_modules())
    place = next((place for place in _PLACES if place in modules), "")
    return f"{place}." if place else "", modules[place]


def layer_numbers(network: nn.Module, option: str) -> dict[str, int]:
    """Number the layers of the transformer in a network: 0 for stem and positions, then its blocks from 1.

    What follows the blocks, as norms, counts as the last; the classifier of a classifier, as one more.

    Args:
        network: As `find_transformer` takes it.
        option: What asks for it, for the message.

    Returns:
        The layer of each parameter of the transformer, by its name in the network.

    Raises:
        ValueError: If it does not say how its parameters group into layers.
    """
    prefix, transformer = find_transformer(network)
    if not hasattr(transformer, "group_matcher") or not hasattr(transformer, "blocks"):
        raise UserError(
            f"{option} needs a plain transformer, whose blocks it can count, not {type(transformer).__name__}; "
            "leave it out, or take a GPViT or a ViT"
        )
    layers = group_parameters(transformer, transformer.group_matcher(coarse=False), reverse=True)
    return {f"{prefix}{name}": int(layer) for name, layer in layers.items()}
