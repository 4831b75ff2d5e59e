"""Detections of an exported graph against the model's, matched one to one in whatever order they come.

Shape letters: B batch, N detections of an image by the model, M places of an image in the graph's outputs.
"""

import torch
from scipy.optimize import linear_sum_assignment
from torchvision.ops import box_iou

Found = dict[str, torch.Tensor]

_CLOSE = 0.5  # pixels that corners of a match may be apart where boxes are too thin to overlap
_OTHER_CLASS = 1e6  # pixels that stand for another class, farther than any box


def compare_detections(
    found: Found, expected: list[Found], overlap: float, margin: float, kept: int, least: float
) -> dict[str, dict[str, float]]:
    """Measure the outputs of a batch: differences of matched boxes, scores and masks, and how many have a match.

    Boxes match if they are of one class and overlap by `overlap`, or are no farther apart than half a pixel. At the
    end of the scores, hardly anything decides who is kept: what has no match and a score within `margin` of the last
    one counts neither way.

    Args:
        found: The graph's outputs, ``(B, M, ...)``, unused places with score 0.
        expected: The model's ``boxes``, ``labels``, ``scores`` and perhaps ``masks`` of each image, ``(N, ...)``.
        overlap: Least intersection over union of a match.
        margin: Difference of scores that decides nothing.
        kept: Most detections of an image.
        least: Score that a detection must exceed.

    Returns:
        For each output its ``difference``, of boxes in pixels, or its ``agreement``, and the number of ``objects``.
    """
    rows = {name: {"difference": 0.0} for name in found if name != "labels"}
    alone = objects = 0
    for index, own in enumerate(expected):
        exists = found["scores"][index] > 0
        theirs = {name: values[index][exists] for name, values in found.items()}
        ours, other = _pairs(own, theirs, overlap)
        for name, row in rows.items():
            a, b = theirs[name][other], own[name][ours].reshape(theirs[name][other].shape)
            row["difference"] = max([row["difference"], *(a - b).abs().flatten().tolist()])
        objects += len(own["scores"])
        for scores, matched in ((own["scores"], ours), (theirs["scores"], other)):
            last = float(scores.min()) if len(scores) == kept else least
            is_alone = torch.ones(len(scores), dtype=torch.bool).index_fill(0, matched, False)
            alone += int((is_alone & (scores > last + margin)).sum())
    rows["labels"] = {"agreement": 1 - alone / max(2 * objects, 1), "objects": objects}
    return rows


def _pairs(own: Found, theirs: Found, overlap: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Match detections of one class, nearest boxes first of all, and return the indices of both sides."""
    distance = (own["boxes"][:, None] - theirs["boxes"]).abs().amax(dim=2)
    distance = distance + _OTHER_CLASS * (own["labels"][:, None] != theirs["labels"])
    ours, other = (torch.from_numpy(side) for side in linear_sum_assignment(distance))
    same = box_iou(own["boxes"], theirs["boxes"]) >= overlap
    match = ((same | (distance <= _CLOSE)) & (distance < _OTHER_CLASS))[ours, other]
    return ours[match], other[match]
