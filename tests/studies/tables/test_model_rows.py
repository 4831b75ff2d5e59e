import pytest

from gpvit.zoo.catalog import MODELS
from studies.tables.model_rows import explain, legend, other_rows, own_row, paper_models
from studies.tables.published import load_published


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
    assert rows[2]["remark"] == "deduced; L1 is 2.6 and 1.4 above"


def test_the_legend_names_each_source_once():
    text = legend([{"remark": "paper; a note"}, {"remark": "paper"}, {"remark": "readme; params: whole"}])
    assert text == "Sources: `paper`, the paper, arXiv 2212.06795; `readme`, the authors' README."
