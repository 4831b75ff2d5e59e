import pytest
import torch
from lightning import Callback
from tasks.plain import TASKS, optim, train

import gpvit
from gpvit.tasks.optim import lr_factor

LOGGED = {
    "gpvit_nano": {"train/loss", "val/loss", "val/top1", "val/top5"},
    "upernet_gpvit_nano": {"train/loss", "val/miou", "val/macc", "val/aacc"},
    "mask_rcnn_gpvit_nano": {
        "train/loss",
        *(f"train/loss_{part}" for part in ("objectness", "rpn_box_reg", "classifier", "box_reg", "mask")),
        *(f"val/{kind}_{figure}" for kind in ("box", "mask") for figure in ("ap", "ap50", "ap75")),
    },
}


class Losses(Callback):
    """Remembers what the steps gave."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        self.steps.append(dict(outputs))


@pytest.mark.parametrize("name", TASKS)
def test_a_users_own_trainer_trains_it_with_their_own_callback(name):
    kind, arguments, data = TASKS[name]
    task, losses = kind(name, optim=optim(kind), **arguments), Losses()
    options = {"accumulate_grad_batches": 2, "limit_train_batches": 4}
    trainer = train(task, data(), callbacks=[losses], limit_val_batches=1, **options)
    assert trainer.global_step == 2
    assert set(trainer.callback_metrics) == LOGGED[name]
    assert task.best_metric in LOGGED[name]
    assert len(losses.steps) == 4
    mean = torch.stack([2 * step["loss"] for step in losses.steps]).mean()  # Lightning divides by the accumulated
    assert trainer.callback_metrics["train/loss"] == pytest.approx(mean.item(), rel=1e-5)
    assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == 2


@pytest.mark.parametrize("name", TASKS)
def test_another_loop_needs_no_trainer(name):
    kind, arguments, data = TASKS[name]
    torch.manual_seed(0)
    task, data = kind(name, optim=optim(kind, lr=1e-4), **arguments), data()
    data.setup("fit")
    task.build(data)
    network = task.network
    task.build(data)
    assert task.network is network  # built once
    optimizer, scheduler = task.create_optimizer(total_steps=2, epoch_steps=2, images_per_step=4)
    before = {name: tensor.clone() for name, tensor in network.named_parameters()}
    task.train()
    for step, batch in zip(range(2), data.train_dataloader(), strict=False):
        losses = task.training_step(batch, step)
        assert all(not part.requires_grad for part_name, part in losses.items() if part_name != "loss")
        losses["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    assert any(not torch.equal(tensor, before[name]) for name, tensor in network.named_parameters())
    task.eval()
    with torch.no_grad():
        task.validation_step(next(iter(data.val_dataloader())), 0)
    first = task.validation_metrics()
    assert {f"train/{part}" for part in losses} | first.keys() == LOGGED[name]
    assert all(type(value) is float for value in first.values())
    with torch.no_grad():
        task.validation_step(next(iter(data.val_dataloader())), 0)
    assert task.validation_metrics() == first  # each validation starts from nothing


@pytest.mark.parametrize("name", TASKS)
def test_the_trainers_images_and_steps_reach_the_optimiser(name, capsys):
    kind, arguments, data = TASKS[name]
    base = 4 * data().batch_size
    scaled = optim(kind, lr=0.2, base_batch_size=base, head_lr_scale=10.0, warmup_epochs=1, warmup_ratio=0.5)
    task = kind(name, optim=scaled, **arguments)
    options = {"max_epochs": 3, "limit_train_batches": 2, "limit_val_batches": 0, "accumulate_grad_batches": 2}
    trainer = train(task, data(), **options)
    rates = {group["initial_lr"] for group in trainer.optimizers[0].param_groups}
    assert rates == {0.1, 1.0}
    assert capsys.readouterr().out.count("learning rate 0.1 for") == 1
    (schedule, *_), expected = trainer.lr_scheduler_configs[0].scheduler.lr_lambdas, lr_factor(scaled, 3, 1)
    assert [schedule(step) for step in range(4)] == [expected(step) for step in range(4)]


@pytest.mark.parametrize("name", TASKS)
def test_a_run_without_end_is_refused(name):
    kind, arguments, data = TASKS[name]
    with pytest.raises(ValueError, match="the schedule needs an end: set max_epochs or max_steps"):
        train(kind(name, **arguments), data(), max_epochs=-1)


@pytest.mark.parametrize("name", TASKS)
def test_a_wrong_model_is_refused_at_once(name):
    kind = TASKS[name][0]
    with pytest.raises(ValueError, match=f"unknown model '{name}_'; did you mean .*{name}"):
        kind(f"{name}_")
    other = next(other for other in TASKS if other != name)
    with pytest.raises(ValueError, match=f"{other} is a model for {TASKS[other][0].kind}, not for {kind.kind}"):
        kind(other)
    with pytest.raises(ValueError, match="has no option 'drop_path'; did you mean drop_path_rate"):
        kind(name, drop_path=0.1)


@pytest.mark.parametrize("name", TASKS)
def test_what_the_data_decide_is_not_given_again(name):
    kind, arguments, data = TASKS[name]
    arguments = {**arguments, "num_classes": 2, "in_chans": 1}
    with pytest.raises(ValueError, match="leave out in_chans, num_classes of the model: the data decide that"):
        kind(name, **arguments).build(data())


@pytest.mark.parametrize("name", TASKS)
def test_compilation_and_checkpointing_are_asked_of_the_network(name, monkeypatch):
    kind, arguments, data = TASKS[name]
    compiled, asked = [], []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(type(module).__name__))
    network_class = type(gpvit.create_model(name))
    monkeypatch.setattr(network_class, "set_grad_checkpointing", lambda self, enable=True: asked.append(enable))
    kind(name, grad_checkpointing=True, compile=True, **arguments).build(data())
    assert asked == [True]
    assert len(compiled) == {"gpvit_nano": 1, "upernet_gpvit_nano": 3, "mask_rcnn_gpvit_nano": 1}[name]
