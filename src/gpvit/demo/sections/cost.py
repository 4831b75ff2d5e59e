"""What the model costs: parameters, multiply-accumulates, time."""

from collections.abc import Callable

from gpvit.demo.experiments.digits import DigitsExperiment
from gpvit.demo.page.charts import FIRST, SECOND, SOFT, Bars, draw, paint_bars
from gpvit.demo.page.parts import Chart, Charts, Section, Table
from gpvit.layers.group_propagation import GroupPropagationBlock
from gpvit.profile.cost import CostRow

_GROUP, _LOCAL, _REST = "GP blocks", "local blocks", "the rest"
_COLOURS = {_GROUP: SECOND, _LOCAL: FIRST, _REST: SOFT}


def parts(experiment: DigitsExperiment) -> Section:
    """Show where parameters and computation sit."""
    cost = experiment.cost
    kinds = [_kind(experiment, row) for row in cost.rows]
    labels = [_label(row, kind) for row, kind in zip(cost.rows, kinds, strict=True)]
    colours = [_COLOURS[kind] for kind in kinds]

    def bars(name: str, title: str, value: Callable[[CostRow], int]) -> Chart:
        values = [value(row) for row in cost.rows]
        drawn = Bars(labels, values, colours, [f"{each / sum(values):.1%}" for each in values])
        svg = draw(name, title, 4.3, 4.8, lambda axes: paint_bars(axes, title, drawn))
        return Chart(svg, "")

    charts = [
        bars("parameters", "Parameters", lambda row: row.parameters),
        bars("macs", "Multiply-accumulates", lambda row: row.macs),
    ]
    rows = []
    for kind in _COLOURS:
        members = [row for row, own in zip(cost.rows, kinds, strict=True) if own == kind]
        rows.append(_cells(kind, members))
    rows.append(_cells("all", list(cost.rows)))
    height, width = cost.size
    text = [
        "A parameter is a learned number; a multiply-accumulate (MAC) is the unit of computation in matrix products. "
        f"Counted for one picture of {height} x {width} pixels, part by part: GP blocks in orange, local ones in blue.",
    ]
    caption = (
        "Attention: the MACs that multiply two activations; in all others one factor is a parameter. Norms and "
        "activation functions are not counted, as is usual."
    )
    header = ["", "parts", "parameters", "MACs (M)", "attention (M)"]
    return Section("cost", "Where its parts weigh", text, [Charts(charts), Table(header, rows, caption)])


def speed(experiment: DigitsExperiment) -> Section:
    """Show how fast the network is here, over picture sizes."""
    report = experiment.speed
    rows = []
    for measurement in report.measurements:
        height, width = measurement.case.size
        assert measurement.median_ms is not None
        per_image = measurement.median_ms / measurement.case.batch_size
        tokens = (height // 8) * (width // 8)
        rows.append(
            [
                f"{height} x {width}",
                f"{tokens:,}",
                f"{measurement.images_per_second:,.0f}" if per_image < 100 else f"{measurement.images_per_second:.1f}",
                f"{per_image:.1f}",
                f"{1e3 * per_image / tokens:.0f}",
            ]
        )
    case = report.measurements[0].case
    text = [
        "Forward passes, timed on this machine a moment ago. Read the last column: time for each token. Attention of "
        "every token to every other would make it grow in step with the number of tokens; stripes and group tokens "
        "hold it back. (Tiny pictures pay a fixed price for each call, and large ones outgrow the processor's caches.)",
    ]
    caption = (
        f"{case.model} in {case.dtype}, batches of {case.batch_size} colour pictures, 1,000 classes, random weights, "
        f"{case.device}; median of {report.rounds} rounds. Other programs running at the time slow it down."
    )
    header = ["picture", "tokens", "pictures/s", "ms per picture", "µs per token"]
    return Section("speed", "How fast it is here", text, [Table(header, rows, caption)])


def _cells(name: str, rows: list[CostRow]) -> list[str]:
    macs = sum(row.macs for row in rows)
    attention = macs - sum(row.macs_without_attention for row in rows)
    return [
        name,
        str(len(rows)),
        f"{sum(row.parameters for row in rows):,}",
        f"{macs / 1e6:.2f}",
        f"{attention / 1e6:.2f}",
    ]


def _kind(experiment: DigitsExperiment, row: CostRow) -> str:
    if not row.part.startswith("blocks."):
        return _REST
    block = experiment.model.get_submodule(row.part)
    return _GROUP if isinstance(block, GroupPropagationBlock) else _LOCAL


def _label(row: CostRow, kind: str) -> str:
    names = {"(own)": "position embedding", "head": "classifier", "pool": "attention pooling", "norm": "final norm"}
    if kind == _REST:
        return names.get(row.part, row.part)
    number = row.part.removeprefix("blocks.")
    return f"GP block {number}" if kind == _GROUP else f"local block {number}"
