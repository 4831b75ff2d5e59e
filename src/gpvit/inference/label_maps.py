"""Label maps: the most probable class of each pixel, made of logits of a lower resolution by bands of rows.

The logits of all pixels are never held together; for 150 classes that would be 10 GB for 4096 x 4096 pixels.

Shape letters: K classes, h w grid of the low-resolution logits, H W image size.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from gpvit.ops.resizing import resize_rows, source_rows

_BAND_VALUES = 2**20  # logits of a band, 4 MB: more would leave the processor's cache


def empty_label_map(num_classes: int, size: tuple[int, int]) -> np.ndarray:
    """Allocate ``(H, W)`` labels: uint8 for at most 255 classes, as 255 says that there is none, else int32."""
    return np.empty(size, np.uint8 if num_classes <= 255 else np.int32)


def labels_of_views(
    logits: Sequence[torch.Tensor], inputs: Sequence[tuple[int, int]], size: tuple[int, int], stride: int
) -> np.ndarray:
    """Make one label map of several views of an image, whose probabilities are averaged.

    The logits ``(K, h, w)`` of each view are resized to its input's height and width, and from there to the image's.
    """
    labels = empty_label_map(len(logits[0]), size)
    if len(logits) == 1 and inputs[0] == size == tuple(side * stride for side in logits[0].shape[1:]):
        fill_from_top(labels, logits, logits[0].shape[1], stride)
        return labels
    step = max(1, _BAND_VALUES // (len(logits[0]) * size[1]))
    for top in range(0, size[0], step):
        rows, scores = range(top, min(top + step, size[0])), []
        for view, (height, width) in zip(logits, inputs, strict=True):
            needed = source_rows(height, size[0], rows)
            middle = resize_rows(view, (height, width), needed)
            scores.append(resize_rows(middle, size, rows, height, needed.start))
        total = scores[0] if len(scores) == 1 else torch.stack([score.softmax(0) for score in scores]).sum(0)
        labels[top : rows.stop] = total.max(0).indices.cpu().numpy()  # on a CPU, argmax takes twice as long
    return labels


def fill_from_top(labels: np.ndarray, logits: Iterable[torch.Tensor], height: int, stride: int) -> None:
    """Fill a label map ``(H, W)`` with the classes of low-resolution logits that come in from top to bottom.

    These are pieces ``(K, rows, w)`` of a grid of so many rows, `height`, that covers the image or reaches beyond it.
    """
    image_height, width = labels.shape
    held, first, done = None, 0, 0  # logits still needed, the row of the grid they begin with, finished pixel rows
    for piece in logits:
        held = piece if held is None else torch.cat([held, piece], 1)
        known = first + held.shape[1]
        # the lower half of the last known cell is mixed with the next one, unless there is none
        stop = min(image_height, known * stride - (0 if known == height else (stride + 1) // 2))
        fine = upsampled_labels(held, stride)
        labels[done:stop] = fine[done - first * stride : stop - first * stride, :width].cpu().numpy()
        done = stop
        if done < image_height:
            needed = source_rows(height, height * stride, range(done, done + 1)).start
            held, first = held[:, needed - first :], needed


def upsampled_labels(logits: torch.Tensor, stride: int) -> torch.Tensor:
    """Find the most probable class of each pixel of logits ``(K, h, w)`` enlarged by ``stride``, bilinear.

    Between four neighbouring cells every class is mixed by the same shares. Where one class is the best in all four, it
    is so everywhere between them, and nothing is enlarged; that saves most of the time.
    """
    _, h, w = logits.shape
    cells = logits.permute(1, 2, 0).contiguous()  # (h, w, K)
    best = cells.max(2).indices
    # A block lies between four cells' centres; those at the border lie between two, or at one.
    top, left = (torch.arange(n + 1, device=logits.device) - 1 for n in (h, w))
    corners = [(y.clamp(0, h - 1)[:, None], x.clamp(0, w - 1)[None]) for y in (top, top + 1) for x in (left, left + 1)]
    of_corners = torch.stack([best[y, x] for y, x in corners])  # (4, h+1, w+1)
    blocks = of_corners[0, :, :, None].repeat(1, 1, stride**2)
    rows, columns = torch.where((of_corners != of_corners[0]).any(0))
    shares = _shares(stride).to(logits)
    for part in torch.arange(len(rows), device=rows.device).split(max(1, _BAND_VALUES // (len(logits) * stride**2))):
        i, j = rows[part], columns[part]
        mixed = shares @ torch.stack([cells[y.flatten()[i], x.flatten()[j]] for y, x in corners], 1)  # (n, stride^2, K)
        blocks[i, j] = mixed.max(2).indices
    fine = blocks.unflatten(2, (stride, stride)).transpose(1, 2).flatten(2).flatten(0, 1)
    start = stride // 2
    return fine[start : start + h * stride, start : start + w * stride]


def _shares(stride: int) -> torch.Tensor:
    """Shares ``(stride^2, 4)`` of a block's corners in each of its pixels, in row-major order both."""
    below = (torch.arange(stride) + 0.5 - stride // 2) / stride + 0.5
    along = torch.stack([1 - below, below], 1)  # (stride, 2)
    return torch.einsum("ya,xb->yxab", along, along).flatten(2).flatten(0, 1)
