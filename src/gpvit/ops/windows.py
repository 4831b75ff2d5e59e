"""Cut a token grid into equal rectangles and put it together again.

Shape letters: B batch, H W token grid, h w window height and width, n = H/h * W/w windows per image.
"""

import torch


def partition(x: torch.Tensor, window: tuple[int, int]) -> torch.Tensor:
    """Cut a grid into windows; a stripe is a window as high, or as wide, as the grid.

    Tokens are ``(B, H, W, *)``, with any trailing dimensions, and windows ``(B * n, h, w, *)``, those of one image in
    row-major order. Windows of full width are a view of the same memory; all others cost one copy.
    """
    B, H, W = x.shape[:3]
    h, w = window
    rest = x.shape[3:]  # added to tuples, not unpacked, for symbolic tracing cannot
    x = x.reshape((B, H // h, h, W // w, w) + rest)  # noqa: RUF005
    return x.transpose(2, 3).reshape((-1, h, w) + rest)  # noqa: RUF005


def merge(windows: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Undo :func:`partition`: ``(B * n, h, w, *)`` to ``(B, H, W, *)``."""
    H, W = grid
    _, h, w = windows.shape[:3]
    rest = windows.shape[3:]
    x = windows.reshape((-1, H // h, W // w, h, w) + rest)  # noqa: RUF005
    return x.transpose(2, 3).reshape((-1, H, W) + rest)  # noqa: RUF005
