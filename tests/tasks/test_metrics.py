from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from gpvit.tasks.metrics import ClassificationScores, SegmentationScores

CLASSES = 6


def maps(seed: int, images: int = 3) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Predictions and labels of images of several sizes; class 4 never occurs, class 5 is only predicted."""
    random = np.random.default_rng(seed)
    pairs = []
    for _ in range(images):
        size = (1, *random.integers(1, 40, 2))
        label = random.choice([0, 1, 2, 3, 255], size)
        guess = np.where(random.random(size) < 0.5, np.minimum(label, 3), random.choice([0, 1, 2, 3, 5], size))
        pairs.append((torch.from_numpy(guess), torch.from_numpy(label)))
    return pairs


def counted(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> dict:
    """The scores pixel by pixel, class by class."""
    pixels = [
        (int(p), int(t))
        for guess, label in pairs
        for p, t in zip(guess.flatten(), label.flatten(), strict=True)
        if t != 255
    ]
    iou, acc = [], []
    for i in range(CLASSES):
        both = sum(p == t == i for p, t in pixels)
        either = sum(p == i or t == i for p, t in pixels)
        labelled = sum(t == i for _, t in pixels)
        iou.append(both / either if either else float("nan"))
        acc.append(both / labelled if labelled else float("nan"))
    return {
        "iou": iou,
        "acc": acc,
        "miou": float(np.nanmean(iou)),
        "macc": float(np.nanmean(acc)),
        "aacc": sum(p == t for p, t in pixels) / len(pixels),
    }


def as_numbers(scores: dict[str, torch.Tensor]) -> dict:
    return {name: value.tolist() for name, value in scores.items()}


def approximately(scores: dict) -> dict:
    return {name: pytest.approx(value, abs=1e-6, nan_ok=True) for name, value in scores.items()}


@pytest.mark.parametrize("seed", range(20))
def test_scores_are_those_of_a_naive_count(seed):
    scores = SegmentationScores(CLASSES)
    pairs = maps(seed)
    for guess, label in pairs:
        scores.update(guess, label)
    values = as_numbers(scores.compute())
    assert values == approximately(counted(pairs))
    assert np.isnan(values["iou"][4])  # left out of the mean
    assert values["iou"][5] == 0 or np.isnan(values["iou"][5])
    assert np.isnan(values["acc"][5])


def test_a_perfect_map_scores_one_whatever_is_absent():
    scores = SegmentationScores(150)
    label = torch.tensor([[[3, 3, 149], [255, 7, 7]]])
    scores.update(label.where(label != 255, 0), label)
    values = scores.compute()
    assert values["miou"] == values["macc"] == values["aacc"] == 1
    assert values["iou"].isnan().sum() == 147


def test_a_reset_forgets():
    scores = SegmentationScores(2)
    scores.update(torch.tensor([[0]]), torch.tensor([[1]]))
    scores.reset()
    scores.update(torch.tensor([[1]]), torch.tensor([[1]]))
    assert scores.compute()["aacc"] == 1


def score_a_share(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", f"file://{folder / 'meeting'}", timedelta(minutes=2), rank=rank, world_size=2)
    scores = SegmentationScores(CLASSES)
    for guess, label in maps(0, images=5)[rank::2]:  # three images and two
        scores.update(guess, label)
    torch.save(scores.compute(), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_count_as_one(tmp_path):
    mp.start_processes(score_a_share, (tmp_path,), nprocs=2, start_method="fork")
    for rank in range(2):
        assert as_numbers(torch.load(tmp_path / f"{rank}.pt")) == approximately(counted(maps(0, images=5)))


@pytest.mark.parametrize("seed", range(5))
def test_accuracies_are_counted_over_all_batches(seed):
    generator = torch.Generator().manual_seed(seed)
    metrics = ClassificationScores(8)
    logits, labels = torch.randn(60, 8, generator=generator), torch.randint(0, 8, (60,), generator=generator)
    logits[:20, :] = 10 * torch.eye(8)[labels[:20]]  # a first batch without a mistake makes all of them equal
    for start, end in ((0, 20), (20, 45), (45, 60)):
        metrics.update(logits[start:end], labels[start:end])
    ranks = logits.argsort(1, descending=True)
    right = ranks[:, 0] == labels
    expected = {
        "top1": right.float().mean(),
        "top5": (ranks[:, :5] == labels[:, None]).any(1).float().mean(),
        "loss": torch.nn.functional.cross_entropy(logits, labels),
        "mean_class_accuracy": torch.stack([right[labels == i].float().mean() for i in range(8)]).mean(),
    }
    assert {name: float(value) for name, value in metrics.compute().items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}
    )


def test_top5_needs_more_than_five_classes():
    assert set(ClassificationScores(5)) == {"top1", "mean_class_accuracy", "loss"}
    assert set(ClassificationScores(6)) == {"top1", "top5", "mean_class_accuracy", "loss"}
