"""The tables as a whole: what is committed under docs/results, and what is refused."""

import csv
import re
from pathlib import Path

import pytest
from golden import official

from gpvit.models.variants import VARIANTS
from gpvit.zoo.catalog import MODELS
from studies.ablations import ablations
from studies.published import load_published
from studies.tables import COUNTED_TABLES, build_table, explain, other_rows, own_row, paper_models

RESULTS = Path(__file__).parents[2] / "docs" / "results"
SYSTEMS = {"cls": ("2", ""), "maskrcnn": ("3", "mask_rcnn_"), "retinanet": ("4", "retinanet_")}
SYSTEMS |= {"upernet": ("5", "upernet_"), "segformer": ("5", "segformer_")}
CHEAP = ("1", "9")


def committed(number: str) -> dict[str, dict[str, str]]:
    with open(RESULTS / f"table_{number}.csv", newline="") as file:
        reader = csv.DictReader(file)
        return {row[reader.fieldnames[0]]: row for row in reader}


@pytest.mark.parametrize(
    "number", [pytest.param(name, marks=[] if name in CHEAP else pytest.mark.slow) for name in COUNTED_TABLES]
)
def test_the_committed_table_is_what_is_built(number):
    table = build_table(number)
    told = f"run `python -m studies table {number} --out docs/results`"
    assert (RESULTS / f"table_{number}.md").read_text(encoding="utf-8") == table.markdown(), told
    assert (RESULTS / f"table_{number}.csv").read_text(encoding="utf-8") == table.csv(), told


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_committed_counts_are_those_of_the_authors_code(system, level):
    number, prefix = SYSTEMS[system]
    row = committed(number)[f"{prefix}gpvit_l{level}"]
    macs = official.macs()[f"{system}_L{level}"]
    assert float(row["gmacs"]) * 1e9 == pytest.approx(macs["total"], rel=5e-3)
    if "without_attention_matmuls" in macs:
        assert float(row["gmacs_without_attention"]) * 1e9 == pytest.approx(macs["without_attention_matmuls"], rel=5e-3)
    exact = official.parameter_counts()[system][f"L{level}"]
    assert round(float(row["params_m"]) * 1e6) == exact["parameters"]
    assert float(row["published_params_m"]) == exact["authors_readme_M"]


def test_committed_scores_are_the_catalogs():
    columns = {"top1": "top1", "box_ap": "box_{}", "mask_ap": "mask_{}", "miou": "miou"}
    seen = 0
    for number, prefix in SYSTEMS.values():
        rows = committed(number)
        for name in (f"{prefix}gpvit_l{level}" for level in (1, 2, 3, 4)):
            for tag, weights in MODELS[name].weights.items():
                for metric in weights.metrics.keys() & columns.keys():
                    column = columns[metric].format(tag.removeprefix("coco_"))
                    assert float(rows[name][column]) == weights.metrics[metric], (name, metric)
                    seen += 1
    assert seen == 4 + 2 * 2 * 4 + 2 * 4 + 2 * 4


def test_table_1_has_every_size_and_the_parts_that_were_published():
    rows = committed("1")
    assert list(rows) == list(VARIANTS)
    for level in (1, 2, 3, 4):
        row, parts = rows[f"gpvit_l{level}"], official.parameter_counts()["cls"][f"L{level}"]["parts"]
        assert round(float(row["backbone_m"]) * 1e6) == parts["backbone"]
        assert round(float(row["pooled_m"]) * 1e6) == parts["backbone"] + parts["neck"]
        assert (row["group_tokens"], row["heads"]) == ("64-32-32-16", "12 / 6")
    assert [row["remark"] for row in rows.values()][2:] == ["backbone", "with pool", "backbone", "whole, truncated"]
    assert [row["stem_convs"] for row in rows.values()] == ["0", "0", "0", "1", "1", "2"]


@pytest.mark.parametrize("number", [6, 7, 8, 9, "design"])
def test_an_ablation_has_all_its_rows_and_the_paper_s_network_once(number):
    rows = committed(str(number))
    labels = [label.removesuffix(" = gpvit_l1") for label in rows]
    assert labels == [row.label for row in ablations(number)]
    (own,) = (row for label, row in rows.items() if label.endswith(" = gpvit_l1"))
    assert round(float(own["params_m"]) * 1e6) == official.parameter_counts()["cls"]["L1"]["parameters"]
    assert float(own["gmacs"]) * 1e9 == pytest.approx(official.macs()["cls_L1"]["total"], rel=5e-3)
    if number != "design":
        assert float(own["published_top1"]) == 80.5
    if number in (6, 7):
        assert float(own["gmacs_ade20k"]) * 1e9 == pytest.approx(official.macs()["segformer_L1"]["total"], rel=5e-3)
        assert float(own["published_miou"]) == 46.9


def test_published_cells_of_ablations_are_near_what_is_counted():
    rows = committed("6")
    for label in load_published().rows("table6"):
        assert float(rows[label]["published_gmacs"]) == pytest.approx(float(rows[label]["gmacs"]), rel=0.05)
        assert float(rows[label]["published_gmacs_ade20k"]) == pytest.approx(
            float(rows[label]["gmacs_ade20k"]), rel=0.05
        )
    assert {label: row["published_top1"] for label, row in committed("9").items()} == {
        "none": "79.8",
        "self-attention": "80.7",
        "MLP-Mixer = gpvit_l1": "80.5",
    }


@pytest.mark.parametrize("number", COUNTED_TABLES)
def test_committed_tables_are_narrow_and_say_what_they_are(number):
    text = (RESULTS / f"table_{number}.md").read_text(encoding="utf-8")
    assert text.endswith(f"Made by `python -m studies table {number}`.\n")
    assert text.splitlines()[2].count("|") - 1 <= 13
    assert re.search("published|README", text) or number == "design"
    assert "GMACs, billions of multiply-accumulates" in text or number == "1"


@pytest.mark.parametrize("number", ["11", "0", "one", 12])
def test_other_tables_are_refused(number):
    with pytest.raises(ValueError, match=f"no table '{number}'; choose 1 to 10, or design"):
        build_table(number)


def test_a_table_is_built_by_number_or_name():
    assert build_table(1, quick=True) == build_table("1", quick=True)
    assert build_table(1, quick=True).command == "python -m studies table 1 --quick"
    assert set(COUNTED_TABLES) == {*map(str, range(1, 10)), "design"}


@pytest.mark.parametrize(
    ("published", "counts", "words"),
    [
        (None, {"whole": 9.6}, ""),
        (9.3, {"whole": 9.59, "backbone": 9.326}, "backbone"),
        (75.4, {"backbone": 74.859, "whole": 75.484}, "whole, truncated"),
        (76, {"whole": 75.81}, "whole, rounded up"),
        (33, {"without attention": 32.18, "with attention": 33.9}, "with attention, truncated"),
        (15.0, {"without attention": 15.25, "with attention": 15.65}, "no count of ours"),
        (15, {"without attention": 15.25, "with attention": 15.65}, "without attention"),
    ],
)
def test_published_figures_are_explained_to_the_digits_that_were_printed(published, counts, words):
    assert explain(published, counts) == words


def test_the_paper_has_four_models_of_each_kind():
    for system in ("", "mask_rcnn", "retinanet", "upernet", "segformer"):
        names = paper_models(system)
        assert [name[-2:] for name in names] == ["l1", "l2", "l3", "l4"]
        assert paper_models(system, quick=True) == names[:1]
    assert set().union(*map(paper_models, ("", "mask_rcnn", "retinanet", "upernet", "segformer"))) == {
        name for name, entry in MODELS.items() if entry.origin == "paper"
    }


def test_own_figures_stand_beside_the_published_ones():
    row = own_row("gpvit_l1", (224, 224))
    assert row["remark"] == "readme; params: backbone; paper; GMACs: without attention"
    assert (row["published_params_m"], row["published_gmacs"]) == (9.3, 5.8)
    assert (row["params_m"], row["gmacs"]) == (9.589848, 6.095803584)


def test_others_are_counted_where_a_model_is_named():
    (row,) = other_rows("table2", (224, 224), quick=True)
    assert row["params_m"] == pytest.approx(28.288, rel=1e-4)
    assert row["gmacs"] == pytest.approx(row["published_gmacs"], rel=0.01)
    rows = other_rows("table3", (800, 1280))
    assert [row["model"] for row in rows] == list(load_published().rows("table3"))
    assert not any("params_m" in row for row in rows)
    assert rows[2]["remark"].startswith("deduced; L1 is 2.6 and 1.4 above")
