"""What is committed of where GPViT stands, what docs/results.md says of it, and how it is drawn."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from gpvit.zoo.catalog import MODELS
from studies import stands, tables
from studies.__main__ import main
from studies.published import load_published
from studies.report import COLOURS, ResultTable, chart
from studies.stands import COSTS, TASKS, draw_stands, family

RESULTS = Path(__file__).parents[2] / "docs" / "results"
IMAGENET, BOXES, MIOU = list(TASKS)[:3]


def committed():
    with open(RESULTS / "stands.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row | {key: float(row[key]) if row[key] else None for key in (*COSTS, "score")} for row in rows]


ROWS = {(row["task"], row["model"]): row for row in committed()}


def matching(task, cost, form="one several"):
    """Which networks match each GPViT with no more of a cost, found anew."""
    rows = [row for row in ROWS.values() if row["task"] == task and row[cost]]
    own = [row for row in rows if family(row["model"]) == "GPViT"]
    others = [row for row in rows if row not in own and row["form"] in form]
    return {
        each["model"][-2:]: {
            row["model"] for row in others if row["score"] >= each["score"] and row[cost] <= each[cost]
        }
        for each in own
    }


def read_table(number, quick):
    """Read a committed table as its rows were: without the empty cells, numbers being numbers."""
    number_or_text = lambda text: json.loads(text) if text.replace(".", "", 1).isdigit() else text  # noqa: E731
    with open(RESULTS / f"table_{number}.csv", newline="") as file:
        rows = [{key: number_or_text(text) for key, text in row.items() if text} for row in csv.DictReader(file)]
    return SimpleNamespace(rows=rows)


@pytest.mark.slow  # counts the peers; tables 2 to 5 are those committed, which have tests of their own
def test_the_committed_table_is_what_is_built(monkeypatch):
    monkeypatch.setattr(stands, "build_table", read_table)
    table = stands.stands_table()
    assert (RESULTS / "stands.csv").read_text(encoding="utf-8") == table.csv()
    text = (RESULTS / "stands.md").read_text(encoding="utf-8")
    assert text == table.markdown() + "\nMade by `python -m studies stands`.\n"


def test_every_published_score_has_its_row_and_size():
    published = load_published()
    sections = {title: [f"table{task.number}", f"since{task.number}"] for title, task in TASKS.items()}
    sections[IMAGENET].append("peers")
    sections[MIOU] = ["table5_upernet", "since5"]
    sections["SegFormer, mIoU"] = ["table5_segformer"]
    seen = 0
    for title, names in sections.items():
        for label, row in ((label, row) for name in names for label, row in published.rows(name).items()):
            if TASKS[title].score not in row.figures:
                continue
            seen += 1
            cells = ROWS[title, label]
            assert (cells["score"], cells["remark"]) == (row.figures[TASKS[title].score], row.remark)
            if row.model is None:
                assert cells["params_m"] == row.figures.get("params"), (title, label)
                assert cells["gmacs"] == row.figures.get("gmacs"), (title, label)
    assert seen == len(ROWS) - 4 * len(TASKS)  # the rest are GPViTs


def test_gpvits_stand_in_every_task_as_in_the_catalog():
    tags = {"top1": ("in1k", "top1"), "box_1x": ("coco_1x", "box_ap"), "box_3x": ("coco_3x", "box_ap")}
    systems = {"2": "", "3": "mask_rcnn_", "4": "retinanet_"}
    for title, task in TASKS.items():
        system = systems.get(task.number) or (f"{task.head.lower()}_" if task.head else "")
        tag, metric = tags.get(task.score, ("ade20k", "miou"))
        for level in (1, 2, 3, 4):
            entry, row = MODELS[f"{system}gpvit_l{level}"], ROWS[title, f"GPViT-L{level}"]
            assert row["score"] == entry.weights[tag].metrics[metric]
            assert round(row["params_m"] * 1e6) == entry.parameters
            assert round(row["gmacs"] * 1e9) == entry.macs


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("task", TASKS)
def test_matches_are_those_with_as_good_a_score_for_no_more(task, cost):
    found = matching(task, cost)
    for (title, model), row in ROWS.items():
        if title == task:
            assert row[f"matches_{cost}"] == ", ".join(level for level in found if model in found[level])


def test_what_the_page_says_of_networks_with_one_resolution():
    behind = {(task, cost, *found) for task in TASKS for cost in COSTS for found in matched(task, cost, "one")}
    assert behind == {(IMAGENET, "gmacs", "L3", "ViT-5-B")}
    lead = [ROWS[task, "GPViT-L2"]["score"] - ROWS[task, "PlainMamba-L2"]["score"] for task in (IMAGENET, BOXES, MIOU)]
    assert lead == pytest.approx([1.8, 3.9, 3.4])
    assert ROWS[BOXES, "TransNeXt-Base"]["score"] - ROWS[BOXES, "GPViT-L4"]["score"] == pytest.approx(0.7)


def matched(task, cost, form):
    return [(level, name) for level, names in matching(task, cost, form).items() for name in names]


def test_what_the_page_says_of_all():
    segmentation = {(cost, *found) for cost in COSTS for found in matched(MIOU, cost, "one several")}
    assert segmentation == {("gmacs", "L4", "TransNeXt-Base")}
    boxes = matching(BOXES, "params_m")
    assert boxes == {"L1": set(), "L2": {"TransNeXt-Tiny"}, "L3": set(), "L4": {"TransNeXt-Small", "TransNeXt-Base"}}
    classes = matching(IMAGENET, "params_m")
    largest = {"RMT-B", "MILA-S", "TransNeXt-Small", "Hiera-B"}
    assert classes == {"L1": set(), "L2": set(), "L3": {"RMT-S"}, "L4": largest}
    for task in (IMAGENET, BOXES):
        assert all(matching(task, "gmacs", "several").values())
    small = matching("SegFormer, mIoU", "gmacs")
    assert small == {"L1": {"HRViT-b2"}, "L2": {"HRViT-b3", "CSWin"}, "L3": set(), "L4": set()}


@pytest.mark.parametrize(
    ("task", "other", "level", "cost", "percent"),
    [
        (IMAGENET, "ViT-5-B", "L3", "gmacs", 76),
        (IMAGENET, "ViT-5-B", "L3", "params_m", 236),
        (IMAGENET, "PlainMamba-L2", "L2", "gmacs", 52),
        (BOXES, "PlainMamba-L2", "L2", "gmacs", 76),
        (IMAGENET, "TransNeXt-Tiny", "L2", "gmacs", 36),
        (BOXES, "TransNeXt-Tiny", "L2", "gmacs", 50),
        (BOXES, "TransNeXt-Base", "L4", "gmacs", 47),
        (BOXES, "TransNeXt-Base", "L4", "params_m", 100),
        (IMAGENET, "RMT-S", "L3", "gmacs", 19),
        (IMAGENET, "MILA-S", "L4", "gmacs", 15),
        (IMAGENET, "MILA-S", "L4", "params_m", 57),
        (MIOU, "TransNeXt-Base", "L4", "gmacs", 83),
    ],
)
def test_shares_that_the_page_speaks_of(task, other, level, cost, percent):
    assert round(100 * ROWS[task, other][cost] / ROWS[task, f"GPViT-{level}"][cost]) == percent


def test_the_chart_has_all_points_that_have_a_size_and_marks_gpvits():
    with chart(8, 6) as figure:
        draw_stands(figure, ResultTable("stands", "", (), list(ROWS.values())))
        assert len(figure.axes) == 2 * 3
        for axis, (cost, task) in zip(figure.axes, ((c, t) for c in COSTS for t in list(TASKS)[:3]), strict=True):
            drawn = sum(len(line.get_xdata()) for line in axis.lines)
            assert drawn == sum(title == task and row[cost] is not None for (title, _), row in ROWS.items())
            (own,) = (line for line in axis.lines if line.get_marker() == "*")
            assert (own.get_color(), len(own.get_xdata())) == (COLOURS[0], 4)
            assert {"L1", "L2", "L3", "L4"} <= {text.get_text() for text in axis.texts}


def test_the_verb_writes_table_and_chart(tmp_path, capsys, monkeypatch):
    count = SimpleNamespace(macs=2e9, macs_without_attention=1e9, parameters=10**7, rows=())
    monkeypatch.setattr(tables, "count_by_name", lambda name, size: count)
    assert main(["stands", "--quick", "--out", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"stands.{end}" for end in ("csv", "md", "png", "svg")]
    text = (tmp_path / "stands.md").read_text()
    assert text.endswith("Made by `python -m studies stands --quick`.\n")
    assert "| GPViT-L1 | one | 10.0 | 2.0 | 80.5 |" in text
    assert str(tmp_path / "stands.svg") in capsys.readouterr().out
