"""The code's matching and losses as plain loops over boxes, to hold ours against."""

import math

import torch
from torchvision.ops import box_iou

Box = list[float]


def match(truth: torch.Tensor, boxes: torch.Tensor, high: float, low: float, least_best: float) -> list[int]:
    """Index of each box's ground truth, -1 for background, -2 for neither."""
    table = box_iou(truth, boxes).tolist()  # not in double precision, in which other overlaps would be equal
    matches = []
    for column in range(len(boxes)):
        overlaps = [row[column] for row in table]
        best = max(overlaps, default=0.0)
        matches.append(-1 if best < low else -2 if best < high else overlaps.index(best))
    for i, overlaps in enumerate(table):
        best = max(overlaps, default=0.0)
        if best > 0 and best >= least_best:
            matches = [i if o == best else m for o, m in zip(overlaps, matches, strict=True)]
    return matches


def deltas(truth: Box, anchor: Box) -> list[float]:
    """What the box head is to predict: shifts in sides of the anchor, and logarithms of ratios of sides."""
    shifts, ratios = [], []
    for low, high in ((0, 2), (1, 3)):
        side, own = anchor[high] - anchor[low], truth[high] - truth[low]
        shifts.append(((truth[low] + truth[high]) - (anchor[low] + anchor[high])) / 2 / side)
        ratios.append(math.log(own / side))
    return shifts + ratios


def distance(predicted: list[float], wanted: list[float]) -> float:
    return sum(abs(p - w) for p, w in zip(predicted, wanted, strict=True))


def cross_entropy(logits: list[float], label: int) -> float:
    return math.log(sum(math.exp(logit) for logit in logits)) - logits[label]


def binary_cross_entropy(logit: float, label: float) -> float:
    probability = 1 / (1 + math.exp(-logit))
    return -math.log(probability if label else 1 - probability)


def focal(logit: float, label: bool, alpha: float = 0.25, gamma: float = 2.0) -> float:
    probability = 1 / (1 + math.exp(-logit))
    right = probability if label else 1 - probability
    return -(alpha if label else 1 - alpha) * (1 - right) ** gamma * math.log(right)
