"""What the ledger says of training classifiers."""

import tarfile
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from ledger.page import Entry, check, settings, shape_of, tokens
from PIL import Image
from torch import nn

import gpvit
from gpvit.data.transforms.classification import Preprocessing, RandomErasing, training_transform
from gpvit.data.write_shards import write_shards
from gpvit.layers.pooling import AttentionPool, build_pool
from gpvit.ops.deformable import deformable_sample
from gpvit.runtime.images import decode_image
from gpvit.tasks import ClassificationTask, DetectionTask, SegmentationTask
from gpvit.tasks.optim import OptimConfig, lr_factor
from gpvit.tasks.param_groups import NO_DECAY

IMAGENET, COCO, ADE20K = "imagenet/gpvit_l1", "coco/mask_rcnn_gpvit_l1_1x", "ade20k/upernet_gpvit_l1"


@check("Pooling before the classifier")
def _(entry: Entry) -> None:
    pools = [type(shape_of(f"gpvit_l{level}").pool) for level in (1, 2, 3, 4)]
    average = type(build_pool("avg", 8, 2))
    assert pools == [AttentionPool, AttentionPool, average, average]
    assert type(shape_of("gpvit_l1", global_pool="avg").pool) is average
    assert settings(IMAGENET, "paper/imagenet_pool.yaml")["model.global_pool"] == "avg"
    pool = shape_of("gpvit_l2").pool
    assert pool.num_heads == 6
    assert [(name, module.bias) for name, module in pool.named_modules() if isinstance(module, nn.Linear)] == [
        ("key", None)
    ]
    x = tokens(2, 4, 6, 24)
    new = AttentionPool(24, 6)
    torch.testing.assert_close(new(x), build_pool("avg", 8, 2)(x))
    nn.init.normal_(new.token)
    assert not torch.allclose(new(x), build_pool("avg", 8, 2)(x))


@check("Initial values of a classifier")
def _(entry: Entry) -> None:
    torch.manual_seed(0)
    model = gpvit.create_model("gpvit_nano", num_classes=100)
    for name, parameter in model.named_parameters():
        module = model.get_submodule(name.rpartition(".")[0])
        if name == "head.weight":
            assert 0.009 < parameter.std() < 0.011
        elif name.endswith(("pos_embed", "group_tokens")) or (isinstance(module, nn.Linear) and parameter.ndim == 2):
            assert 0.018 < parameter.std() < 0.022, name
        elif isinstance(module, nn.Linear):
            assert not parameter.any(), name
        elif isinstance(module, nn.Conv2d) and parameter.ndim == 4:  # PyTorch's: uniform, up to 1 / sqrt(fan-in)
            bound = parameter[0].numel() ** -0.5
            assert 0.9 * bound < parameter.abs().max() <= bound, name
    entry.says("0.02", "0.01")


@check("Gradient clip, ImageNet")
def _(entry: Entry) -> None:
    clips = [settings(*files)["train.clip"] for files in ((IMAGENET, "paper/imagenet_clip.yaml"), (IMAGENET,))]
    assert clips == [5.0, 1.0]
    entry.says(*clips)
    assert entry.parts["Paper"].startswith("5.0")
    assert entry.parts["Released code"] == "1.0."


@check("Warm-up, ImageNet")
def _(entry: Entry) -> None:
    used = settings(IMAGENET)
    assert (used["optim.lr"], used["train.epochs"]) == (2e-3, 300)
    facts = [used[f"optim.{name}"] for name in ("warmup_epochs", "warmup_ratio", "min_lr_ratio")]
    assert facts == [15, 0.001, 0.01]
    entry.says("2e-3", "300 epochs", "15 epochs", "0.001", "0.01")
    warm, cold = (OptimConfig(lr=1.0, warmup_steps=steps, min_lr_ratio=0.01) for steps in (15, 0))
    rates = [lr_factor(warm, 300, 1)(step) for step in (0, 15, 300)]
    assert rates == pytest.approx([0.001, lr_factor(cold, 300, 1)(15), 0.01])
    assert rates[1] < 1  # the cosine has run since the first step
    assert settings(IMAGENET, "--optim.warmup_epochs", "20")["optim.warmup_epochs"] == 20


@check("Weight decay, ImageNet")
def _(entry: Entry) -> None:
    assert settings(IMAGENET)["optim.weight_decay"] == 0.05
    model = shape_of("gpvit_l1")
    no_decay = NO_DECAY["norms_and_biases"](model)
    names = {name for name, _ in model.named_parameters()}
    assert {"pos_embed", "norm.weight", "stem.first.norm.weight", "blocks.1.group_tokens", "head.bias"} <= no_decay
    assert {"head.weight", "blocks.0.dwconv.weight", "stem.first.conv.weight"} <= names - no_decay
    decaying = {name for name in names - no_decay if name.endswith("bias")}
    assert len(decaying) == 16
    assert all("lepe" in name for name in decaying)


@check("Random erasing")
def _(entry: Entry) -> None:
    steps = training_transform(Preprocessing()).transforms
    kinds = [type(step).__name__ for step in steps]
    assert kinds.index("PILToTensor") < kinds.index("RandomErasing") < kinds.index("Normalize")
    torch.manual_seed(0)
    erased = RandomErasing(1.0, (0.5,), (1.0,), area=(1.0, 1.0), ratio=(1.0, 1.0))(
        torch.full((1, 64, 64), 9, dtype=torch.uint8)
    )
    assert erased.dtype == torch.uint8
    assert (erased == 0).float().mean() > 0.2  # a wide normal distribution is cut off at both ends
    assert (erased == 255).float().mean() > 0.2
    assert settings(IMAGENET)["data.augmentation.erase_probability"] == 0.25


@check("Training images of ImageNet")
def _(entry: Entry) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=50)
    as_is = np.asarray(Image.open(BytesIO(buffer.getvalue())))
    assert np.array_equal(np.asarray(decode_image(buffer.getvalue(), "picture")), as_is)
    with TemporaryDirectory() as folder:
        for split in ("train", "val"):
            for name in ("a", "b"):
                path = Path(folder, "data", split, name, "0.jpg")
                path.parent.mkdir(parents=True)
                path.write_bytes(buffer.getvalue())
        write_shards(str(Path(folder, "data")), str(Path(folder, "shards")))
        shard = next(Path(folder, "shards").rglob("*.tar"))
        with tarfile.open(shard) as archive:
            kept = [archive.extractfile(member).read() for member in archive if member.name.endswith(".jpg")]
    assert kept
    assert set(kept) == {buffer.getvalue()}


@check("Batch norm on several GPUs")
def _(entry: Entry) -> None:
    left_to_the_task = [settings(recipe)["train.sync_batchnorm"] for recipe in (IMAGENET, COCO, ADE20K)]
    assert left_to_the_task == [None] * 3
    tasks = (ClassificationTask, DetectionTask, SegmentationTask)
    assert [task.sync_batch_norm for task in tasks] == [False, True, True]
    assert settings(IMAGENET)["data.batch_size"] == 128
    entry.says("128 images")
    assert settings(IMAGENET, "--train.sync_batchnorm", "true")["train.sync_batchnorm"]
    assert all(settings(recipe)["optim.freeze"] is None for recipe in (IMAGENET, COCO, ADE20K))


@check("Precision of training")
def _(entry: Entry) -> None:
    used = [settings(recipe)["train.precision"] for recipe in (IMAGENET, COCO, ADE20K)]
    assert used == ["16-mixed", "16-mixed", "32-true"]
    assert settings(IMAGENET, "--train.precision", "bf16-mixed")["train.precision"] == "bf16-mixed"
    value, where = tokens(1, 12, 2, 4).half(), torch.rand(1, 5, 2, 1, 3, 2)
    weights = torch.rand(1, 5, 2, 1, 3)
    expected = deformable_sample(value.float(), [(3, 4)], where, weights)
    torch.testing.assert_close(deformable_sample(value, [(3, 4)], where, weights), expected.half(), rtol=0, atol=0)
