"""Finds objects in images of any size, window by window; what several windows found is merged."""

from collections.abc import Callable

import torch
from torch import nn
from torchvision.ops import batched_nms, box_area

from gpvit.data.windows import window_starts
from gpvit.errors import UserError
from gpvit.inference.inferers import Inferer, SlidingWindow

Found = dict[str, torch.Tensor]
"""Boxes `(N, 4)` in pixels, labels `(N,)`, scores `(N,)` and perhaps masks `(N, 1, S, S)` of the boxes' cells."""

Find = Callable[[list[torch.Tensor]], list[Found]]
"""Finds the objects of images."""

_AT_ONCE = 4
_SAME = 0.5  # IoU from which two boxes of a class are one object; and part of a cut box that another explains
_BORDER = 1.0  # pixels from a window's border within which an object counts as cut by it


def finder(model: nn.Module, find: Find, inferer: Inferer | None) -> Find:
    """Return what finds the objects of images: `find` itself, or window by window as a `SlidingWindow` says."""
    if inferer is None:
        return find
    if not isinstance(inferer, SlidingWindow) or inferer.flip:
        raise UserError(f"{type(model).__name__} finds objects in whole images or in windows; leave out {inferer}")
    return lambda images: [find_in_windows(find, image, inferer.size, inferer.overlap) for image in images]


@torch.inference_mode()
def find_in_windows(find: Find, image: torch.Tensor, size: int, overlap: float) -> Found:
    """Find the objects of an image in overlapping windows.

    An object that touches a window's border within the image is perhaps cut: it counts only where no whole object of
    its class, from another window, covers half of it. So what is smaller than the overlap is found whole, once.

    Args:
        find: Finds the objects of images of one size.
        image: ``(C, H, W)``; where it is smaller than a window, one window has its size.
        size: Side of a window, in pixels.
        overlap: Least part of a window's side that its neighbour sees as well, in [0, 1).

    Returns:
        The objects of the image, best first.
    """
    height, width = image.shape[1:]
    places = [
        (left, top, min(left + size, width), min(top + size, height))
        for top in window_starts(height, size, overlap)
        for left in window_starts(width, size, overlap)
    ]
    parts: list[Found] = []
    for first in range(0, len(places), _AT_ONCE):
        chosen = places[first : first + _AT_ONCE]
        found = find([image[:, top:bottom, left:right] for left, top, right, bottom in chosen])
        parts += [_placed(each, place, (width, height)) for each, place in zip(found, chosen, strict=True)]
    merged = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    kept = _merged(merged["boxes"], merged["labels"], merged["scores"], merged.pop("cut"))
    return {name: values[kept] for name, values in merged.items()}


def _placed(found: Found, place: tuple[int, int, int, int], whole: tuple[int, int]) -> Found:
    """Move objects from a window to the image, and say which of them are perhaps cut."""
    boxes = found["boxes"] + found["boxes"].new_tensor(place[:2]).repeat(2)
    inner = [place[0] > 0, place[1] > 0, place[2] < whole[0], place[3] < whole[1]]
    near = (boxes - boxes.new_tensor(place)).abs() <= _BORDER
    return {**found, "boxes": boxes, "cut": (near & torch.tensor(inner, device=boxes.device)).any(1)}


def _merged(boxes: torch.Tensor, labels: torch.Tensor, scores: torch.Tensor, cut: torch.Tensor) -> torch.Tensor:
    """Choose one box for each object: of whole objects by suppression, of cut ones those that nothing else explains."""
    whole, parts = (flags.nonzero()[:, 0] for flags in (~cut, cut))
    kept = whole[batched_nms(boxes[whole], scores[whole], labels[whole], _SAME)]
    for part in parts[scores[parts].argsort(descending=True)]:
        same = kept[labels[kept] == labels[part]]
        corners = torch.cat([boxes[same, :2].maximum(boxes[part, :2]), boxes[same, 2:].minimum(boxes[part, 2:])], 1)
        shared = (corners[:, 2:] - corners[:, :2]).clamp(min=0).prod(1)
        if not (shared > _SAME * box_area(boxes[part : part + 1])).any():
            kept = torch.cat([kept, part[None]])
    return kept[scores[kept].argsort(descending=True, stable=True)]
