"""Segmentation and detection models by name: a system and the backbone that it stands on."""

import inspect
from typing import Any

from torch import nn

from gpvit.models.detection import MaskRCNN, RetinaNet
from gpvit.models.segmenter import Segmenter
from gpvit.zoo.catalog import split_system
from gpvit.zoo.options import check_options

CLASSES: dict[str, type[nn.Module]] = {
    "upernet": Segmenter,
    "segformer": Segmenter,
    "mask_rcnn": MaskRCNN,
    "retinanet": RetinaNet,
}
"""What each system is built by."""

_OWN_CHANNELS = {"gpvit_nano": 64, "gpvit_tiny": 128}  # of a detector on our own small backbones
_OWN_DECODER_CHANNELS = {"gpvit_nano": 128, "gpvit_tiny": 192}  # the same of a segmenter


def create_system(name: str, **kwargs: Any) -> nn.Module:
    """Create a segmentation or detection model by its name.

    Args:
        name: A system and a backbone, as ``"upernet_gpvit_l1"``; any timm model that suits the system can be the
            backbone.
        **kwargs: Arguments of the system's class, but for what the name says.

    Raises:
        ValueError: If an argument is unknown; the nearest one is proposed.
    """
    system, backbone = split_system(name)
    model_class = CLASSES[system]
    check_options(
        name, kwargs, [p for p in inspect.signature(model_class).parameters if p not in ("backbone", "decoder")]
    )
    arguments: dict[str, Any] = dict(kwargs)
    if model_class is Segmenter:
        arguments["decoder"] = system
        if backbone in _OWN_DECODER_CHANNELS:
            own = {"channels": _OWN_DECODER_CHANNELS[backbone]}
            arguments["decoder_kwargs"] = {**own, **(kwargs.get("decoder_kwargs") or {})}
    elif backbone in _OWN_CHANNELS:
        arguments.setdefault("channels", _OWN_CHANNELS[backbone])
    model: Any = model_class(backbone, **arguments)
    model.gpvit_config = {"name": name, "kwargs": kwargs}
    return model
