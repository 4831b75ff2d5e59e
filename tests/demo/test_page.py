import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from gpvit.demo.page import charts
from gpvit.demo.page.embedding import data_url
from gpvit.demo.page.parts import (
    Bar,
    Chapter,
    Chart,
    Charts,
    Gallery,
    Headline,
    Headlines,
    Key,
    Picture,
    Section,
    Steps,
    Table,
)
from gpvit.demo.page.writing import render, write_page
from markupsafe import Markup
from PIL import Image

NASTY = "<script>alert('&')</script>"


@pytest.mark.parametrize(("photograph", "kind", "tolerance"), [(False, "PNG", 0), (True, "JPEG", 12)])
def test_data_url_holds_the_image(photograph, kind, tolerance):
    ramp = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8)
    image = Image.fromarray(np.stack([ramp, 255 - ramp, ramp], axis=-1))
    head, text = data_url(image, photograph).split(",")
    assert head == f"data:image/{kind.lower()};base64"
    decoded = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
    assert decoded.format == kind
    difference = np.abs(np.asarray(decoded.convert("RGB"), int) - np.asarray(image, int))
    assert difference.max() <= tolerance


def line_chart(name):
    lines = [
        charts.Line("training", {1: 2.0, 2: 1.0, 3: 0.5}, charts.FIRST),
        charts.Line("test", {2: 2.1, 3: 1.2}, charts.SECOND),
    ]
    return charts.draw(name, NASTY, 4, 3, lambda axes: charts.paint_lines(axes, "Loss", lines))


def test_a_chart_is_one_svg_element_with_the_colours_of_the_page():
    svg = line_chart("loss")
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert root.get("aria-label") == NASTY
    for variable in ("--ink", "--soft", "--line", "--first", "--second"):
        assert f"var({variable})" in svg
    assert not re.search(r"#0[1-5]0[1-5]0[1-5]", svg)
    assert {"Loss", "epoch", "training", "test", "1", "3"} <= {"".join(each.itertext()).strip() for each in root.iter()}


def test_two_charts_share_no_name_and_refer_to_their_own():
    names = []
    for name in ("one", "two"):
        svg = line_chart(name)
        own = re.findall(r'\bid="([^"]+)"', svg)
        assert set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg)) <= {
            pair for each in own for pair in ((each, ""), ("", each))
        }
        names += own
    assert len(names) == len(set(names)) > 10


def test_confusion_matrix_prints_every_count_but_zero():
    counts = np.array([[48, 2, 0], [0, 50, 0], [1, 0, 49]])
    svg = charts.draw("confusion", "", 4, 4, lambda axes: charts.paint_confusion(axes, counts, ["a", "b", "c"]))
    texts = [text.strip() for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]
    assert sorted(text for text in texts if text.isdecimal()) == ["1", "2", "48", "49", "50"]


def test_one_epoch_is_one_tick():
    line = charts.Line("training", {1: 2.0}, charts.FIRST)
    svg = charts.draw("one", "", 4, 3, lambda axes: charts.paint_lines(axes, "Loss", [line]))
    root = ElementTree.fromstring(svg)
    ticks = [group for group in root.iter() if re.fullmatch(r"one-xtick_\d+", group.get("id", ""))]
    assert ["".join(tick.itertext()).strip() for tick in ticks] == ["1"]


@pytest.mark.parametrize(("longest", "widths"), [(None, (1 / 3, 1)), (6, (1 / 6, 1 / 2))])
def test_bars_are_as_long_as_their_values(longest, widths):
    bars = charts.Bars(["a", "b"], [1, 3], [charts.SOFT] * 2, ["one", "three"])
    found = []

    def paint(axes):
        charts.paint_bars(axes, "Size", bars, longest)
        full = axes.get_xlim()[1] / 1.2
        found.extend(bar.get_width() / full for bar in axes.patches)

    svg = charts.draw("bars", "", 4, 3, paint)
    assert found == pytest.approx(widths)
    assert {"a", "b", "one", "three"} <= {
        "".join(text.itertext()).strip() for text in ElementTree.fromstring(svg).iter()
    }


def test_every_kind_of_part_is_on_the_page_and_text_is_escaped():
    image = Image.new("L", (3, 2), 128)
    parts = [
        Headlines([Headline(NASTY, NASTY, NASTY)], NASTY),
        Charts([Chart(line_chart("loss"), NASTY)]),
        Gallery([Picture(image, NASTY, [Bar(NASTY, 0.25, "right")])], 5, 2, NASTY, NASTY, lead=True),
        Table([NASTY], [[NASTY, Markup("<code>x</code>")]], NASTY),
        Steps([(NASTY, NASTY)], Markup("<svg></svg>")),
        Key([(NASTY, (1, 2, 3))]),
    ]
    section = Section("one", NASTY, [NASTY, Markup("<em>y</em>")], parts)
    page = render(NASTY, NASTY, [Chapter("whole", NASTY, [section])], NASTY)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 23
    assert "<code>x</code>" in page
    assert "<em>y</em>" in page
    assert "25.0 %" in page
    assert "--share: 25.0%" in page
    assert page.count("<svg") == 2
    assert "rgb(1 2 3)" in page
    for name in ("whole", "one"):
        assert f'href="#{name}"' in page
        assert f'id="{name}"' in page


@pytest.mark.parametrize(
    "chapters",
    [
        [Chapter("c", "", [Section("a", "", [])] * 2)],
        [Chapter("c", "", [Section("a", "", [])]), Chapter("d", "", [Section("a", "", [])])],
        [Chapter("a", "", [Section("a", "", [])])],
    ],
)
def test_chapters_and_sections_need_names_of_their_own(chapters):
    with pytest.raises(ValueError, match=r"'a', .*'a'.*name of its own"):
        render("", "", chapters)


def test_a_page_replaces_the_one_before_it_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "report.html"
    for text in ("first", "µ second"):
        write_page(text, path)
        assert path.read_text(encoding="utf-8") == text
    assert list(path.parent.iterdir()) == [path]
