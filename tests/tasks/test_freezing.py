from copy import deepcopy

import pytest
import torch
from lightning import Callback
from tasks.plain import SMALL, TASKS, optim, train
from torch import nn

import gpvit
from gpvit.tasks.param_groups import NO_DECAY, find_transformer, freeze, parameter_groups

NETWORKS = {
    "gpvit_nano": {},
    "segformer_gpvit_nano": {},
    "mask_rcnn_gpvit_nano": SMALL,
    "retinanet_vit_tiny_patch16_224": SMALL,
}


def network(name: str) -> nn.Module:
    return gpvit.create_model(name, num_classes=3, **NETWORKS[name])


def learning(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("name", NETWORKS)
def test_all_but_the_pretrained_transformer_learns(name):
    model = network(name)
    freeze(model, "backbone")
    prefix, _ = find_transformer(model)
    assert {n for n, _ in model.named_parameters()} - learning(model) == {
        n
        for n, _ in model.named_parameters()
        if n.startswith(prefix) and not n.removeprefix(prefix).startswith(("head.", "pool.", "feature_norms."))
    }


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("count", [0, 3, 12])
def test_stem_and_first_blocks_are_frozen(name, count):
    model = network(name)
    freeze(model, count)
    prefix, transformer = find_transformer(model)
    still = {n.removeprefix(prefix) for n in learning(model)}
    assert {i for i in range(12) if f"blocks.{i}.mlp.fc1.weight" in still} == set(range(count, 12))
    assert not {n for n in still if n.startswith(("stem", "pos_embed", "patch_embed", "cls_token"))}
    assert {n for n, _ in transformer.named_parameters() if n.startswith(("norm", "pool", "feature_norms"))} <= still


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("gpvit_nano", "backbone"),
        ("gpvit_nano", 5),
        ("segformer_gpvit_nano", "backbone"),
        ("segformer_resnet10t", "backbone"),
    ],
)
def test_frozen_batch_norms_keep_their_statistics_whatever_the_mode(name, part):
    model = gpvit.create_model(name, num_classes=3)
    freeze(model, part)
    frozen = {n: t.clone() for n, t in model.state_dict().items()}
    for model_ in (model, deepcopy(model)):  # weights are written, and averaged, from copies
        model_.eval()
        model_.train()
        assert model_.training
        model_(torch.rand(4, 3, 64, 64))
        changed = {n for n, t in model_.state_dict().items() if not torch.equal(t, frozen[n])}
        trainable = {n.rpartition(".")[0] for n in learning(model_)}
        assert {n.rpartition(".")[0] for n in changed} <= trainable
        assert bool(changed) == (part == 5 or name != "gpvit_nano")  # batch norms of what learns do move


@pytest.mark.parametrize("name", ["gpvit_nano", "segformer_gpvit_nano", "mask_rcnn_gpvit_nano"])
def test_frozen_parameters_are_in_no_group(name):
    model = network(name)
    freeze(model, "backbone")
    for settings in ({"layer_decay": 0.5}, *({"no_decay": rule} for rule in NO_DECAY)):
        groups = parameter_groups(model, lr=1.0, weight_decay=0.1, **settings)
        assert {id(p) for group in groups for p in group["params"]} == {
            id(p) for p in model.parameters() if p.requires_grad
        }


class Watch(Callback):
    """Remembers what a network started from, and which parameters got a gradient in every step."""

    def on_train_start(self, trainer, task):
        self.before = {name: tensor.clone() for name, tensor in task.network.state_dict().items()}
        self.with_gradient = {name for name, _ in task.network.named_parameters()}

    def on_before_optimizer_step(self, trainer, task, optimizer):
        self.with_gradient &= {n for n, p in task.network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", TASKS)
def test_training_moves_what_learns_and_nothing_else(name):
    kind, arguments, data = TASKS[name]
    task, watch = kind(name, optim=optim(kind, lr=0.01, freeze="backbone"), **arguments), Watch()
    settings = {"callbacks": [watch], "max_steps": 3, "limit_val_batches": 1, "val_check_interval": 1}
    with pytest.warns(UserWarning, match="freeze: backbone keeps random values"):
        trainer = train(task, data(), **settings)
    assert trainer.global_step == 3
    names, (prefix, _) = learning(task.network), find_transformer(task.network)
    assert watch.with_gradient == names  # several processes would wait for one without
    moved = {n for n, t in task.network.state_dict().items() if not torch.equal(t, watch.before[n])}
    assert len(moved & names) > 0.9 * len(names)
    assert not [n for n in moved - names if n.startswith(prefix or "blocks")]
    (optimizer,) = trainer.optimizers
    assert {id(p) for p in optimizer.state} == {id(p) for p in task.network.parameters() if p.requires_grad}


def test_freezing_saves_the_memory_of_what_is_not_trained():
    model = network("gpvit_nano")
    freeze(model, "backbone")
    features = model.forward_features(torch.rand(1, 3, 32, 32))
    assert features.grad_fn is None  # nothing is kept for a backward pass


@pytest.mark.parametrize(
    ("name", "part", "message"),
    [
        ("gpvit_nano", 13, "the backbone has 12 blocks; give 0, for its stem alone, to 12"),
        ("gpvit_nano", -1, "the backbone has 12 blocks"),
        ("segformer_resnet10t", 2, "needs a plain transformer, whose blocks it can count, not FeatureListNet"),
    ],
)
def test_what_there_is_not_cannot_be_frozen(name, part, message):
    with pytest.raises(ValueError, match=message):
        freeze(gpvit.create_model(name, num_classes=3), part)
