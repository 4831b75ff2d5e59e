"""What the ledger says of segmentation."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ledger.page import Entry, check, drop_path_of, parameters, settings, shape_of, tokens, truncated
from PIL import Image

import gpvit
from gpvit.data.transforms.segmentation import SegmentationPreprocessing
from gpvit.inference.inferers import WholeImage
from gpvit.tasks.optim import OptimConfig, lr_factor
from gpvit.tasks.param_groups import parameter_groups
from gpvit.tasks.segmentation import pixel_cross_entropy
from gpvit.zoo.catalog import MODELS

UPERNET, SEGFORMER = "ade20k/upernet_gpvit_l1", "ade20k/segformer_gpvit_l1"
LEVELS = (1, 2, 3, 4)


def decay_of(recipe: str) -> dict[str, float]:
    """Tell the weight decay of each parameter of a recipe's model."""
    used = settings(recipe)
    model = shape_of(used["model.name"])
    groups = parameter_groups(model, lr=1.0, weight_decay=used["optim.weight_decay"], no_decay=used["optim.no_decay"])
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(parameter)]: group["weight_decay"] for group in groups for parameter in group["params"]}


@check("Learning rate, ADE20K")
def _(entry: Entry) -> None:
    rates = [
        settings(recipe, *more)["optim.lr"]
        for recipe in (UPERNET, SEGFORMER)
        for more in ((), ("paper/ade20k_lr.yaml",))
    ]
    assert rates == [1.2e-4, 6e-5] * 2
    entry.says("6e-5", "1.2e-4")
    assert settings(UPERNET, "--optim.lr", "0.00006")["optim.lr"] == 6e-5


@check("Batch, ADE20K")
def _(entry: Entry) -> None:
    check_batch(entry, UPERNET)


def check_batch(entry: Entry, recipe: str) -> None:
    """Insist on 2 images on each of 16 GPUs, or of 8 with the overlay, at one and the same rate."""
    for more, gpus in (((), 16), (("paper/eight_gpus.yaml",), 8)):
        used = settings(recipe, *more)
        assert used["data.batch_size"] == 2
        assert used["train.global_batch_size"] == 2 * gpus
        assert used["optim.base_batch_size"] == 2 * gpus
        assert used["optim.lr"] == settings(recipe)["optim.lr"]
        entry.says(f"{gpus} GPUs", f"{2 * gpus} images")
    assert entry.parts["Ours"] == "32."


@check("Schedule, ADE20K")
def _(entry: Entry) -> None:
    for recipe, head_scale in ((UPERNET, 1.0), (SEGFORMER, 10.0)):
        used = settings(recipe)
        assert (used["train.steps"], used["train.clip"]) == (160_000, None)
        assert (used["optim.warmup_steps"], used["optim.warmup_ratio"], used["optim.power"]) == (1500, 1e-6, 1.0)
        assert (used["optim.head_lr_scale"], used["optim.min_lr_ratio"]) == (head_scale, 0.0)
    falls = lr_factor(OptimConfig(lr=1.0, schedule="poly", warmup_steps=1500, warmup_ratio=1e-6), 160_000, 1)
    assert [falls(step) for step in (0, 80_000, 160_000)] == pytest.approx([1e-6, 0.5, 0])
    entry.says("160,000 steps", "1,500 steps", "1e-6", "ten times")


@check("Stochastic depth, ADE20K")
def _(entry: Entry) -> None:
    for decoder in ("upernet", "segformer"):
        rates = [drop_path_of(f"ade20k/{decoder}_gpvit_l{level}") for level in LEVELS]
        assert rates == [0.1, 0.1, 0.2, 0.2]
    entry.says("0.1, 0.1, 0.2 and 0.2")


@check("Weight decay, UPerNet")
def _(entry: Entry) -> None:
    decay = decay_of(UPERNET)
    backbone = "backbone.model."
    no_decay = {"pos_embed", "blocks.1.group_tokens", "blocks.0.norm.bias", "feature_norms.2.weight"}
    assert {decay[backbone + name] for name in no_decay} == {0}
    decaying = {"norm.weight", "norm.bias", "stem.first.norm.weight", "stem.proj.bias", "blocks.0.mlp.fc1.bias"}
    assert {decay[backbone + name] for name in decaying} == {0.01}
    assert {value for name, value in decay.items() if not name.startswith("backbone.")} == {0.01}
    entry.says(settings(SEGFORMER)["optim.no_decay"], "0.01")


@check("Weight decay, SegFormer")
def _(entry: Entry) -> None:
    decay = decay_of(SEGFORMER)
    backbone = "backbone.model."
    no_decay = {"pos_embed", "blocks.1.group_tokens", "norm.weight", "stem.first.norm.weight", "blocks.0.mlp.fc1.bias"}
    assert {decay[backbone + name] for name in no_decay} == {0}
    assert decay[f"{backbone}blocks.0.attn.vertical.lepe.bias"] == 0.01
    assert {value for name, value in decay.items() if not name.startswith("backbone.")} == {0.01}
    entry.says(settings(UPERNET)["optim.no_decay"], "0.01")


@check("Norms of the features")
@torch.no_grad()
def _(entry: Entry) -> None:
    entry.says("2, 5 and 8", "11")
    image = tokens(1, 3, 64, 64)
    for taps in ((2, 5, 8), ()):
        kwargs = {} if taps else {"backbone_kwargs": {"feature_norms": taps}}
        model = gpvit.create_model("segformer_gpvit_nano", num_classes=3, **kwargs).eval()
        backbone = model.backbone.model
        assert sorted(backbone.feature_norms, key=int) == [str(tap) for tap in taps]
        norms = {tap: backbone.feature_norms[str(tap)] for tap in taps} | ({11: backbone.norm} if taps else {})
        for norm in norms.values():
            torch.nn.init.normal_(norm.weight)
        for index, feature in zip((2, 5, 8, 11), model.forward_features(image), strict=True):
            x, _ = backbone._embed(image)
            for block in backbone.blocks[: index + 1]:
                x = block(x)
            expected = norms.get(index, torch.nn.Identity())(x).permute(0, 3, 1, 2)
            torch.testing.assert_close(feature, expected, rtol=1e-4, atol=1e-5)


@check("Test image, ADE20K")
@torch.no_grad()
def _(entry: Entry) -> None:
    used = settings(UPERNET)
    assert (used["data.preprocessing.max_size"], used["data.preprocessing.size_divisor"]) == ([2048, 512], 32)
    entry.says("2048 x 512", "32")
    preprocessing = SegmentationPreprocessing()
    assert preprocessing.kept_shape((300, 500)) == (512, 853)
    assert preprocessing.fitted((300, 500)) == (512, 864)
    assert SegmentationPreprocessing(size_divisor=1).fitted((300, 500)) == (512, 853)
    small = SegmentationPreprocessing((3, 64, 64), max_size=(128, 64))
    noise = np.random.default_rng(0).integers(0, 256, (100, 130, 3), dtype=np.uint8)
    picture, pixels = Image.fromarray(noise), torch.from_numpy(noise).permute(2, 0, 1)[None]
    for size in ((64, 83), (64, 96)):  # kept in shape, then stretched
        pixels = F.interpolate(pixels.float(), size, mode="bilinear", antialias=False).round()
    image = small.transform()(picture)[None]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (small.mean, small.std))
    assert (image - (pixels / 255 - mean) / std).abs().max() < 0.05  # a unit of 8 bits is 0.017
    model = gpvit.create_model("segformer_gpvit_nano", num_classes=5).eval()
    logits = F.interpolate(model(image), (100, 130), mode="bilinear")  # a second time
    labels = torch.from_numpy(WholeImage()(model, picture, small))
    assert (labels == logits[0].argmax(0)).float().mean() > 0.999


@check("Loss of unlabelled pixels")
def _(entry: Entry) -> None:
    logits, masks = tokens(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    whole = F.cross_entropy(logits, masks, reduction="none")
    masks[0, :2] = 255
    torch.testing.assert_close(pixel_cross_entropy(logits, masks), whole[0, 2:].sum() / 16)


@check("Parameters of segmentation models (Table 5)")
def _(entry: Entry) -> None:
    check_parameters(entry, ("upernet", "segformer"), rounded={"segformer_gpvit_l4"})
    assert shape_of("upernet_gpvit_l1").auxiliary is not None


def check_parameters(entry: Entry, systems: tuple[str, ...], rounded: set[str] = frozenset()) -> None:
    """Insist on the exact counts, and on how the printed ones follow from them."""
    for name in (f"{system}_gpvit_l{level}" for system in systems for level in LEVELS):
        count = parameters(shape_of(name))
        printed = f"{count / 1e6:.0f}" if name in rounded else truncated(count)
        assert MODELS[name].published_params_m == pytest.approx(float(printed), abs=0)
        entry.says(f"{count / 1e6:.2f}", printed)
    for name in rounded:
        assert truncated(parameters(shape_of(name))) != f"{parameters(shape_of(name)) / 1e6:.0f}"
