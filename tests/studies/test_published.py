import pytest
import timm
import yaml

from gpvit.zoo.catalog import MODELS, find, split_system
from studies.ablations import ablations
from studies.published import PATH, SECTIONS, load_published

ROW = {"params": 29.0, "source": "paper"}


def write(folder, **sections):
    path = folder / "published.yaml"
    path.write_text(yaml.safe_dump({"sources": {"paper": "a paper"}, **sections}))
    return path


def test_all_sections_are_filled_and_every_source_is_used():
    published = load_published()
    assert set(published.sections) == set(SECTIONS)
    used = {row.source for rows in published.sections.values() for row in rows.values()}
    assert used | {"readme"} == set(published.sources)  # the README's figures stand in the catalog
    assert all(row.figures for rows in published.sections.values() for row in rows.values())


def test_nothing_of_the_catalog_is_repeated():
    for section, rows in load_published().sections.items():
        for label, row in rows.items():
            if label in MODELS and section != "remeasured":
                assert not row.figures.keys() & {"params", "gmacs", "gmacs_ade20k", "top1", "miou"}, (section, label)


def test_rows_of_ablations_and_models_to_count_are_there():
    published = load_published()
    for number in (6, 9):
        assert set(published.rows(f"table{number}")) <= {row.label for row in ablations(number)}
    for rows in published.sections.values():
        for row in rows.values():
            assert row.model is None or timm.is_model(row.model) or find(row.model)
    assert {split_system(row.model)[0] for row in published.rows("table5_upernet").values() if row.model} == {"upernet"}


def test_a_file_is_read(tmp_path):
    path = write(
        tmp_path, table2={"A": {**ROW, "top1": 80, "model": "resnet18", "note": "n"}}, findings={"table7": "t"}
    )
    published = load_published(path)
    row = published.rows("table2")["A"]
    assert (row.figures, row.source, row.model, row.note) == ({"params": 29.0, "top1": 80}, "paper", "resnet18", "n")
    assert published.rows("table3") == {}
    assert published.findings == {"table7": "t"}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"table12": {}}, r"published\.yaml: unknown key 'table12'; did you mean 'table2'\? known are .*table3"),
        ({"findings": {"tabel7": "t"}}, r"findings: unknown key 'tabel7'; did you mean 'table7'"),
        ({"table2": {"A": {**ROW, "top_1": 80}}}, r"table2, A: unknown key 'top_1'; did you mean 'top1'"),
        ({"table2": {"A": {**ROW, "miou": 40}}}, r"table2, A: unknown key 'miou'; known are .*top1"),
        ({"table2": {"A": {"params": 29.0}}}, r"table2, A: source is None; name one of paper"),
        ({"table2": {"A": {**ROW, "source": "hearsay"}}}, r"table2, A: source is 'hearsay'"),
        ({"table2": {"A": {**ROW, "params": "29 M"}}}, r"table2, A: params is '29 M'; give a positive number"),
        ({"table2": {"A": {**ROW, "params": True}}}, r"params is True"),
        ({"table2": {"A": {**ROW, "gmacs": 0}}}, r"gmacs is 0; give a positive number, or leave out"),
        ({"table2": {"A": {**ROW, "top1": 805}}}, r"top1 is 805; scores are in percent"),
        ({"table2": {"A": 29.0}}, r"table2, A: 29.0 is no mapping"),
        ({"table2": None}, r"table2: None is no mapping of rows"),
    ],
)
def test_what_is_wrong_is_named_with_its_remedy(tmp_path, sections, message):
    with pytest.raises(ValueError, match=message):
        load_published(write(tmp_path, **sections))


@pytest.mark.parametrize("text", ["", "- a list", "table2: {}"])
def test_a_file_without_sources_is_refused(tmp_path, text):
    path = tmp_path / "published.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match="begin with `sources:`"):
        load_published(path)


def test_no_row_stands_twice():  # the second would silently replace the first
    lines = [line for line in PATH.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    sections: dict[str, list[str]] = {}
    for line in lines:
        if not line.startswith(" "):
            name = line.partition(":")[0]
            assert name not in sections, name
            sections[name] = []
        elif line[2] != " ":
            sections[name].append(line.strip().partition(":")[0])
    assert len(sections["table2"]) == len(load_published().rows("table2"))
    for name, labels in sections.items():
        assert len(labels) == len(set(labels)), name


def test_the_legend_names_each_source_once():
    text = load_published().legend(["paper; a note", "paper", "readme; params: whole"])
    assert text == "Sources: `paper`, the paper, arXiv 2212.06795; `readme`, the authors' README."
