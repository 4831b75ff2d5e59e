"""The chart: time and memory against the size of the image, on logarithmic axes, where a power law is a line."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from studies.charts import chart, save_chart
from studies.scaling.measuring import Series
from studies.scaling.results import MIB, QUANTITIES, fit_samples, ranges

AXES = {"time": ("time (ms)", 1e3), "memory": ("peak memory over idle (MiB)", 1 / MIB)}
TICKS = (32, 64, 128, 224, 512, 1024, 2048)
MARKERS = "osD^v"


def draw_scaling(panels: Mapping[str, Sequence[Series]], split: int, out: str | Path) -> list[Path]:
    """Draw ``scaling.png`` and ``scaling.svg``, and return their paths.

    Args:
        panels: Title and series of each column of panels.
        split: Side in pixels; the legend gives the exponents of larger images.
        out: Folder to write into; made if absent.
    """
    with chart(5.2 * len(panels), 8.4) as figure:
        grid = figure.subplots(len(AXES), len(panels), squeeze=False, sharex=True)
        for name, row in zip(AXES, grid, strict=True):
            for (title, series), axes in zip(panels.items(), row, strict=True):
                _draw_panel(axes, name, series, split)
                axes.set_title(f"{title}: {name}")
        for axes in grid[-1]:
            axes.set_xlabel("side of the image (px)")
        return save_chart(figure, out, "scaling")


def _draw_panel(axes: Axes, name: str, series: Sequence[Series], split: int) -> None:
    label, unit = AXES[name]
    for one, marker in zip(series, MARKERS, strict=False):
        known = [(sample.size, value) for sample in one.samples if (value := QUANTITIES[name](sample)) is not None]
        if known:
            legend = f"{one.subject.label}{_exponent(one, name, split)}"
            axes.plot(
                [size for size, _ in known], [unit * value for _, value in known], marker, ls="-", ms=4, label=legend
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_ylabel(label)
    if axes.lines:
        axes.legend(fontsize=8, loc="upper left", title=f"exponent in tokens above {split} px", title_fontsize=8)


def _exponent(series: Series, name: str, split: int) -> str:
    above = [part for part in ranges(series.samples, split) if part[0].size > split]
    fit = fit_samples(above[0], QUANTITIES[name]) if above else None
    return "" if fit is None else f" ({fit.value:.2f})"
