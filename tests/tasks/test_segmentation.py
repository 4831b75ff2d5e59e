import pytest
import torch
import torch.nn.functional as F
from tasks.patches import Patches
from tasks.plain import optim, train

import gpvit
from gpvit.tasks import SegmentationTask
from gpvit.tasks.metrics import SegmentationScores
from gpvit.tasks.segmentation import pixel_cross_entropy

PLAIN = {"optim": optim(SegmentationTask)}
STILL = {"optim": optim(SegmentationTask, lr=0.0)}


@pytest.mark.parametrize("decoder", ["upernet", "segformer"])
def test_the_network_takes_classes_and_channels_from_the_data(decoder):
    task = SegmentationTask(f"{decoder}_gpvit_nano", drop_path_rate=0.1, **PLAIN)
    trainer = train(task, Patches(num_classes=7, channels=1), limit_train_batches=1, limit_val_batches=1)
    assert (task.network.num_classes, task.network.in_chans) == (7, 1)
    assert task.eval()(torch.rand(1, 1, 64, 32)).shape == (1, 7, 64, 32)
    assert {"train/loss", "val/miou", "val/macc", "val/aacc"} <= trainer.callback_metrics.keys()


@pytest.mark.parametrize("name", ["upernet_gpvit_nano", "segformer_gpvit_nano", "upernet_resnet10t"])
def test_every_parameter_takes_part_in_the_loss(name):  # distributed training would stop at one that does not
    network = gpvit.create_model(name, num_classes=3).train()
    logits, auxiliary = network.forward_with_auxiliary(torch.rand(2, 3, 64, 64))
    (logits.sum() + (0 if auxiliary is None else auxiliary.sum())).backward()
    assert not [name for name, parameter in network.named_parameters() if parameter.grad is None]


def test_any_timm_backbone_can_be_trained():
    task = SegmentationTask("upernet_resnet10t", decoder_kwargs={"channels": 16}, **PLAIN)
    trainer = train(task, Patches(), limit_train_batches=1, limit_val_batches=1)
    assert trainer.callback_metrics["train/loss"] > 0


@pytest.mark.slow
def test_it_learns_a_few_pictures_by_heart():
    torch.manual_seed(0)
    task = SegmentationTask("segformer_gpvit_nano", optim=optim(SegmentationTask, lr=1e-3, head_lr_scale=10))
    trainer = train(task, Patches(), max_epochs=20, limit_val_batches=0)
    assert trainer.callback_metrics["train/loss"] < 0.1


def test_scores_count_each_picture_at_its_own_size():
    task = SegmentationTask("segformer_gpvit_nano", **STILL)
    data = Patches()
    trainer = train(task, data, limit_train_batches=1)
    scores = SegmentationScores(3)
    network = task.network.eval()
    for pair in data.samples("val"):
        image = data.preprocessing.transform()(pair.image)[None]
        assert image.shape[2:] == (96, 64)
        with torch.no_grad():
            logits = F.interpolate(network(image), (70, 50), mode="bilinear", align_corners=False)
        scores.update(logits[0].argmax(0), torch.from_numpy(pair.mask))
    for name, value in scores.compute().items():
        if name in ("miou", "macc", "aacc"):
            assert trainer.callback_metrics[f"val/{name}"] == pytest.approx(value.item(), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_is_a_mean_over_all_pixels(seed):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 4, 6, 5, generator=random)
    masks = torch.randint(0, 4, (2, 6, 5), generator=random)
    masks[torch.rand(masks.shape, generator=random) < 0.3] = 255
    expected = 0.0
    for image, y, x in (masks != 255).nonzero().tolist():
        expected -= logits[image, :, y, x].log_softmax(0)[masks[image, y, x]].item()
    assert pixel_cross_entropy(logits, masks).item() == pytest.approx(expected / 60, rel=1e-5)
    assert pixel_cross_entropy(logits, torch.full_like(masks, 255)) == 0


def test_the_auxiliary_head_has_its_share_of_the_loss():
    task = SegmentationTask("upernet_gpvit_nano", auxiliary_weight=0.25, **PLAIN)
    train(task, Patches(), limit_train_batches=1, limit_val_batches=0)
    task.network.eval()
    images, masks = torch.rand(2, 3, 64, 64), torch.randint(0, 3, (2, 64, 64))
    main, auxiliary = (pixel_cross_entropy(logits, masks) for logits in task.network.forward_with_auxiliary(images))
    assert task.training_step((images, masks), 0)["loss"].item() == pytest.approx((main + 0.25 * auxiliary).item())


def test_training_starts_from_a_classifiers_backbone(tmp_path, capsys):
    start = gpvit.create_model("gpvit_nano", num_classes=4)
    gpvit.save(start, tmp_path / "start.safetensors")
    task = SegmentationTask("segformer_gpvit_nano", backbone_weights=str(tmp_path / "start.safetensors"), **STILL)
    train(task, Patches(), limit_train_batches=1, limit_val_batches=0)
    assert "loaded into the backbone" in capsys.readouterr().err
    ours = dict(task.network.backbone.model.named_parameters())
    assert all(
        torch.equal(ours[name], tensor) for name, tensor in start.named_parameters() if name.startswith("blocks")
    )


def test_finetuning_renews_only_the_classifier(tmp_path, capsys):
    start = gpvit.create_model("segformer_gpvit_nano", num_classes=5)
    gpvit.save(start, tmp_path / "start.safetensors")
    task = SegmentationTask("segformer_gpvit_nano", weights=str(tmp_path / "start.safetensors"), **STILL)
    train(task, Patches(), limit_train_batches=1, limit_val_batches=0)
    assert "decoder.classifier.weight (5, 128, 1, 1) left out" in capsys.readouterr().err
    assert task.network.num_classes == 3
    assert torch.equal(task.network.decoder.merge.conv.weight, start.decoder.merge.conv.weight)


def test_a_background_counts_as_much_as_it_is_said_to():
    logits, masks = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    masks[0, 0] = 255
    each = F.cross_entropy(logits, masks, ignore_index=255, reduction="none")
    for weight in (1.0, 0.25):
        expected = torch.where(masks == 0, weight * each, each).sum() / masks.numel()
        torch.testing.assert_close(pixel_cross_entropy(logits, masks, weight), expected)
