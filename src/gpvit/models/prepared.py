"""Networks prepared for inference on this machine: folded, with products as fast as its processor does them."""

import copy
from itertools import chain
from typing import Any, TypeGuard

import torch
from timm.layers import Mlp
from torch import nn

from gpvit.layers.packed_linear import PackedLinear
from gpvit.layers.token_block import FeedForward
from gpvit.models.folding import fold, fold_in_place, is_hooked, is_plain
from gpvit.ops.products import packing_pays


def optimize(model: nn.Module) -> nn.Module:
    """Copy a network for inference on this machine; the given one stays as it is.

    The copy is folded (:func:`gpvit.models.folding.fold`). On a CPU in float32, where that is faster, each Linear has a
    packed weight beside its own, and a GELU after it is part of its product. Outputs are equal up to rounding. The copy
    shares no memory and follows no later change of the network; :class:`gpvit.Predictor` does both by itself.

    Args:
        model: Any module on its device, such as a model of timm; what nothing is known for is copied as it is. Layers
            with hooks, or with parametrised or pruned weights, stay as they are.

    Example:
        >>> model = create_model("gpvit_nano", num_classes=10)
        >>> with torch.inference_mode():
        ...     logits = optimize(model)(torch.rand(1, 3, 224, 224))
    """
    return _pack(fold(model))


class Prepared:
    """Gives a network prepared for inference, as the network is at present: memory is shared, changes are followed.

    What is folded or packed takes memory of its own, about as much as the weights take. On other devices than a CPU, in
    other types than float32, and with hooks anywhere, by which people watch the network itself, it is given as it is.
    Of weights that are written through ``.data`` nobody is told.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self._state: Any = None
        self._prepared = model

    def __call__(self) -> nn.Module:
        """Return the network, prepared anew if its weights or modules are others than the last time."""
        state = _state_of(self.model)
        if state != self._state:
            self._state, self._prepared = state, _prepare(self.model)
        return self._prepared


def _state_of(model: nn.Module) -> list[Any]:
    """Return what changes with a network's modules, hooks and tensors, faster than torch would list them."""
    state: list[Any] = []
    waiting = [model]
    while waiting:
        module = waiting.pop()
        own = vars(module)
        state += id(module), is_hooked(module)
        for tensor in (*own["_parameters"].values(), *own["_buffers"].values()):
            if tensor is not None:
                state += id(tensor), 0 if tensor.is_inference() else tensor._version
        waiting += [child for child in own["_modules"].values() if child is not None]
    return state


def _is_plain_float32(tensor: torch.Tensor) -> bool:
    fits = tensor.dtype == torch.float32 or not tensor.is_floating_point()
    return fits and tensor.device.type == "cpu" and type(tensor) in (torch.Tensor, nn.Parameter)


def _prepare(model: nn.Module) -> nn.Module:
    tensors = list(chain(model.parameters(), model.buffers()))
    if not all(map(_is_plain_float32, tensors)) or any(map(is_hooked, model.modules())):
        return model
    shared = {id(tensor): _shared(tensor) for tensor in tensors}
    try:
        copied = copy.deepcopy(model, shared)
    except Exception:  # modules may hold anything, such as an open file, of which there is no copy
        return model
    return _pack(fold_in_place(copied))


def _shared(tensor: torch.Tensor) -> torch.Tensor:
    """Return another tensor of the same memory, which gradients leave alone."""
    values = tensor.detach()
    return nn.Parameter(values, requires_grad=False) if isinstance(tensor, nn.Parameter) else values


def _pack(model: nn.Module) -> nn.Module:
    """Give each Linear of a folded network a packed weight, and the GELU that follows it, where that is faster."""
    if not packing_pays():
        return model
    modules: list[Any] = list(model.modules())
    for module in modules:
        if type(module) in (FeedForward, Mlp) and _can_be_packed(module.fc1) and _is_exact_gelu(module.act):
            module.fc1, module.act = PackedLinear(module.fc1, gelu=True), nn.Identity()
        for name, child in module.named_children():
            if _can_be_packed(child):
                setattr(module, name, PackedLinear(child))
    return model


def _can_be_packed(layer: nn.Module) -> TypeGuard[nn.Linear]:
    return is_plain(layer, nn.Linear) and all(map(_is_plain_float32, layer.parameters()))


def _is_exact_gelu(act: nn.Module) -> bool:
    return is_plain(act, nn.GELU) and getattr(act, "approximate", "") == "none"
