"""Where windows and tiles lie in an image; prediction needs it without all that loads data."""

import math


def window_starts(side: int, window: int, overlap: float) -> list[int]:
    """Spread windows evenly over a side, neighbours sharing at least a part `overlap`; a smaller side has one."""
    step = max(1, math.floor(window * (1 - overlap)))
    steps = max(-(-(side - window) // step), 0)
    return [round(index * (side - window) / max(steps, 1)) for index in range(steps + 1)]
