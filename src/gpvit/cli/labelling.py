"""How pictures are labelled, as the options of a verb say it."""

from gpvit.errors import UserError
from gpvit.inference.labelling import LabellingMethod, SlidingWindow, WholeImage


def labelling_method(
    window: int | None = None, overlap: float | None = None, flip: bool = False, scales: str | None = None
) -> LabellingMethod:
    """Choose how a segmenter labels a picture: by windows if one is given, else the whole picture at once.

    Args:
        window: Side of a window in pixels.
        overlap: Part of a window's side that its neighbour sees as well.
        flip: Whether everything is also seen in the mirror.
        scales: Factors of the whole picture's size, separated by commas.

    Raises:
        ValueError: If a value is out of range, or options exclude each other.
    """
    if window is None:
        if overlap is not None:
            raise UserError(f"--overlap {overlap} is that of windows; add --window 512, or leave it out")
        return WholeImage(_numbers("1.0" if scales is None else scales), flip)
    if scales is not None:
        raise UserError(f"--window {window} sees a picture at its own size and --scales {scales} at others; choose one")
    return SlidingWindow(window, flip=flip) if overlap is None else SlidingWindow(window, overlap, flip)


def _numbers(scales: str) -> tuple[float, ...]:
    try:
        return tuple(float(scale) for scale in scales.split(","))
    except ValueError:
        raise UserError(f"scales {scales!r}: give numbers separated by commas, as 0.5,1.0,1.5") from None
