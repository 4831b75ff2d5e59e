"""The tables as a whole: what is committed under docs/results, and what is refused."""

import csv
import re
from pathlib import Path

import pytest
from golden import official

from gpvit.models.variants import VARIANTS
from gpvit.zoo.catalog import MODELS
from studies import tables
from studies.ablations import ablations
from studies.tables import COUNTED_TABLES, build_table, speed
from studies.tables.published import load_published

RESULTS = Path(__file__).parents[3] / "docs" / "results"
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
    told = f"run `gpvit table {number} --out docs/results`"
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
    assert text.endswith(f"Made by `gpvit table {number}`.\n")
    assert text.splitlines()[2].count("|") - 1 <= 13
    assert re.search("published|README", text) or number == "design"
    assert "GMACs, billions of multiply-accumulates" in text or number == "1"


@pytest.mark.parametrize("number", ["11", "0", "one", 12])
def test_other_tables_are_refused(number):
    with pytest.raises(ValueError, match=f"no table '{number}'; choose 1 to 10, or design"):
        build_table(number)


def test_settings_of_measurement_are_for_table_10_alone(monkeypatch):
    with pytest.raises(ValueError, match="table 3 counts and measures nothing; leave out --rounds, --dtype, or choose"):
        build_table(3, rounds=2, dtype="bfloat16")
    given = {}
    monkeypatch.setattr(speed, "speed_table", lambda quick, **settings: given.update(settings, quick=quick))
    build_table(10, quick=True, rounds=2, device="cpu")
    assert given == {"quick": True, "rounds": 2, "device": "cpu", "progress": False}


def test_a_table_is_built_by_number_or_name():
    assert build_table(1, quick=True) == build_table("1", quick=True)
    assert build_table(1, quick=True).command == "gpvit table 1 --quick"
    assert set(tables.COUNTED_TABLES) == {*map(str, range(1, 10)), "design"}
