import pytest
import timm
import torch

from gpvit.profile.cost import profile_model
from studies.ablations import ablations

ROWS = {6: 7, 7: 9, 8: 5, 9: 3, "design": 6, "exchange": 7, "keys": 8}


def built(row, **options) -> torch.nn.Module:
    return timm.create_model(row.backbone, **{**row.arguments, **options})


def costs(table) -> dict[str, tuple[int, int]]:
    """Parameters, and MACs without attention's products at 224 x 224, of each row."""
    with torch.device("meta"):
        counted = {row.label: profile_model(built(row), (224, 224)) for row in ablations(table)}
    return {label: (cost.parameters, cost.macs_without_attention) for label, cost in counted.items()}


@pytest.mark.parametrize("table", ROWS)
def test_every_row_runs_and_none_is_another(table):
    rows = ablations(table, "gpvit_nano")
    assert len(rows) == len({row.label for row in rows}) == ROWS[table]
    assert len({repr(row.arguments) for row in rows}) == ROWS[table]
    for row in rows:
        assert built(row, num_classes=3).eval()(torch.rand(1, 3, 40, 56)).shape == (1, 3)


@pytest.mark.parametrize(
    ("table", "label"), [(6, "LePE stripes + GP"), (7, "LePE stripes, group propagation"), (8, "64-32-32-16")]
)
def test_the_published_network_is_a_row(table, label):
    (row,) = (row for row in ablations(table) if row.label == label)
    own = timm.create_model("gpvit_l1").state_dict()
    assert {name: t.shape for name, t in built(row).state_dict().items()} == {name: t.shape for name, t in own.items()}


@pytest.mark.slow
def test_local_attention_costs_what_group_propagation_costs():
    counted = costs(6)
    paper = 5.8e9  # said of windows and of stripes, each with group propagation and without
    for label in ("windows", "windows + GP", "LePE stripes", "LePE stripes + GP"):
        assert counted[label][1] == pytest.approx(paper, rel=0.04), label
    assert counted["LePE stripes + GP, stride 16"][1] < 0.3 * paper


@pytest.mark.slow
def test_more_groups_cost_more():
    counted = costs(8)
    assert counted["16-16-16-16"] < counted["32-32-32-32"] < counted["64-64-64-64"]
    assert counted["16-16-16-16"] < counted["64-32-32-16"] < counted["64-64-64-64"]


def test_unknown_tables_and_models_are_named():
    with pytest.raises(ValueError, match="no ablation 5; choose one of 6, 7, 8, 9, design, exchange, keys"):
        ablations(5)
    with pytest.raises(ValueError, match="no GPViT 'resnet50'"):
        ablations(6, "resnet50")
