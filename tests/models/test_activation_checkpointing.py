import pytest
import torch
from torch import nn

import gpvit
from gpvit.models.activation_checkpointing import checkpoint_block


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.SyncBatchNorm])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_the_second_run_leaves_batch_statistics_alone(momentum, norm):
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), norm(4, momentum=momentum), nn.ReLU())
    twin = nn.Sequential(nn.Conv2d(3, 4, 3), norm(4, momentum=momentum), nn.ReLU())
    twin.load_state_dict(plain.state_dict())
    for _ in range(3):
        x = torch.randn(2, 3, 8, 8)
        plain(x).square().sum().backward()
        checkpoint_block(twin, x).square().sum().backward()
    for a, b in zip(plain.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(plain.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    assert twin[1].momentum == momentum
    assert twin[1].num_batches_tracked == 3


def test_statistics_come_back_after_an_error():
    block = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1))
    y = checkpoint_block(block, torch.randn(2, 3, 4, 4, requires_grad=True))
    block[1].forward = None  # the second run fails
    with pytest.raises(TypeError):
        y.sum().backward()
    assert block[0].momentum == 0.1
    assert block[0].num_batches_tracked == 1


@pytest.mark.parametrize("name", ["gpvit_nano", "segformer_gpvit_nano", "mask_rcnn_gpvit_nano"])
def test_models_train_with_batch_norm_across_processes(name):
    if name.startswith("mask_rcnn"):
        heads = {"proposals_per_image": 20, "rois_per_image": 8}
        kwargs = {"min_size": 64, "channels": 16, "backbone_kwargs": {"img_size": 64}, "head_kwargs": heads}
    else:
        kwargs = {}
    model = nn.SyncBatchNorm.convert_sync_batchnorm(gpvit.create_model(name, num_classes=3, **kwargs)).train()
    model.set_grad_checkpointing()
    if name.startswith("mask_rcnn"):
        masks = torch.ones(1, 64, 64, dtype=torch.uint8)
        target = {"boxes": torch.tensor([[4.0, 4.0, 40.0, 40.0]]), "labels": torch.tensor([1]), "masks": masks}
        loss = sum(model(list(torch.rand(2, 3, 64, 64)), [target] * 2).values())
    else:
        loss = model(torch.rand(2, 3, 64, 64)).square().sum()
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
