import copy

import pytest
import torch
from contract.subjects import EVERY_MODEL, build_short, difference, images
from torch import nn


def saved_bytes(model: torch.nn.Module, x: torch.Tensor) -> tuple[int, torch.Tensor]:
    """Bytes that a forward pass keeps for the backward pass, parameters aside, and its output."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
        output = model(x)
    return sum(kept.values()), output


def set_mode(model: nn.Module, mode: str) -> None:
    """Choose ``"training"``, ``"evaluation"``, or training with ``"frozen statistics"``."""
    model.train(mode != "evaluation")
    if mode == "frozen statistics":
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


@pytest.mark.parametrize("mode", ["training", "evaluation", "frozen statistics"])
@pytest.mark.parametrize("name", EVERY_MODEL)
def test_gradient_checkpointing_saves_memory_and_changes_nothing(name, mode):
    plain = build_short(name, num_classes=3, drop_path_rate=0.3)
    set_mode(plain, mode)
    frugal = copy.deepcopy(plain)
    frugal.set_grad_checkpointing()
    x = images()
    results = []
    for model in (plain, frugal):
        torch.manual_seed(0)
        kept, logits = saved_bytes(model, x)
        torch.manual_seed(1)  # what happens between the passes must not matter
        logits.square().sum().backward()
        results.append((kept, logits))
    (kept, logits), (kept_frugally, logits_frugally) = results
    assert torch.equal(logits, logits_frugally)
    assert kept_frugally < 0.3 * kept
    for (parameter_name, p), q in zip(plain.named_parameters(), frugal.parameters(), strict=True):
        assert difference(q.grad, p.grad) < 1e-5 or p.grad.abs().max() < 1e-7, parameter_name
    for (buffer_name, a), b in zip(plain.named_buffers(), frugal.buffers(), strict=True):
        assert torch.equal(a, b), buffer_name
    assert frugal.blocks[1].dwconv.norm.num_batches_tracked == (mode == "training")
    frugal.set_grad_checkpointing(False)
    assert saved_bytes(frugal, x)[0] > 0.9 * kept


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_without_gradients_checkpointing_changes_nothing(name):
    model, x = build_short(name).eval(), images()
    with torch.no_grad():
        expected = model(x)
        model.set_grad_checkpointing()
        kept, logits = saved_bytes(model, x)
    assert kept == 0
    assert torch.equal(logits, expected)
