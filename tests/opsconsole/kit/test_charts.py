"""Tests of charts: every figure is in its place, and also available as text."""

from __future__ import annotations

import re

import pytest
from django.template.loader import render_to_string
from hypothesis import given
from hypothesis import strategies as st

from opsconsole.kit import charts
from opsconsole.kit.charts import Series, stacked

figures = st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1, max_size=48)


def two(pairs: list[tuple[int, int]]) -> charts.Chart:
    labels = [f"{number:02}:00" for number in range(len(pairs))]
    allowed, refused = zip(*pairs, strict=True)
    return stacked(
        "Requests", labels, [Series("allowed", "running", allowed), Series("refused", "bad", refused)]
    )


@given(figures)
def test_bars_are_stacked_within_the_chart(pairs: list[tuple[int, int]]) -> None:
    chart = two(pairs)

    assert len(chart.bars) == sum(bool(value) for pair in pairs for value in pair)
    for bar in chart.bars:
        x, width = float(bar.x.rstrip("%")), float(bar.width.rstrip("%"))
        y, height = float(bar.y), float(bar.height)
        assert 0 <= x <= x + width <= 100.01
        assert y >= charts.TOP - charts.THINNEST_BAR - 0.02
        assert y + height <= charts.HEIGHT - charts.BOTTOM + 0.02
        assert height >= charts.THINNEST_BAR


@given(st.integers(0, 10**12))
def test_grid_lines_are_round_and_reach_above_bars(highest: int) -> None:
    chart = stacked("x", ["a"], [Series("s", "good", [highest])])

    values = [spelled_out(line.text) for line in chart.lines]
    assert 1 <= len(values) <= 4
    assert values[-1] >= highest
    assert re.fullmatch(r"[125]0*", str(values[0]))


def spelled_out(text: str) -> int:
    number, unit = re.fullmatch(r"([\d.]+)(\D*)", text).groups()  # type: ignore[union-attr]  # fails the test otherwise
    return round(float(number) * {"": 1, "k": 1_000, "M": 1_000_000, "bn": 1_000_000_000}[unit])


def test_bar_heights_match_figures() -> None:
    chart = two([(30, 10), (20, 20)])

    allowed, refused, *_ = chart.bars
    room = charts.HEIGHT - charts.TOP - charts.BOTTOM
    assert float(allowed.height) == pytest.approx(room * 30 / 40, abs=0.01)
    assert float(refused.y) + float(refused.height) == pytest.approx(float(allowed.y), abs=0.01)
    assert refused.title == "00:00: 10 refused"


def test_chart_has_text_alternative() -> None:
    chart = two([(1_000, 0), (2_000, 500)])

    assert chart.summary == "3,000 allowed, 500 refused since 00:00. Most at 01:00: 2,500."
    assert chart.rows == [["00:00", "1,000", "0"], ["01:00", "2,000", "500"]]
    assert two([(0, 0)]).summary == "Nothing in this time."


def test_axis_has_few_labels() -> None:
    assert len(two([(1, 1)] * 24).words) <= charts.MOST_WORDS
    assert len(two([(1, 1)] * 3).words) == 3


def test_axis_names_numbers_shortly() -> None:
    chart = stacked("Requests", ["00:00"], [Series("allowed", "good", [4_100])])

    assert [line.text for line in chart.lines] == ["2k", "4k", "6k"]
    assert [charts.axis_number(number) for number in (0, 500, 1_500, 20_000, 2_500_000)] == [
        "0", "500", "1.5k", "20k", "2.5M",
    ]  # fmt: skip


def test_number_of_figures_must_match_labels() -> None:
    with pytest.raises(ValueError, match="2 labels, but 1 values"):
        stacked("x", ["a", "b"], [Series("s", "good", [1])])


def test_alert_line_is_within_chart_and_in_text() -> None:
    chart = stacked("429s", ["a"], [Series("refused", "warning", [3])], alert_above=100)

    assert chart.alert is not None
    assert charts.TOP <= float(chart.alert.y) <= charts.HEIGHT - charts.BOTTOM
    assert "An alert fires above 100." in chart.summary
    caption, _, drawing = render_to_string("admin/charts/bars.html", {"chart": chart}).partition("<svg")
    assert "alert above 100" in caption
    # The label is outside the drawing, where no bar can cover it.
    assert "alert above" not in drawing.partition("</svg>")[0]


def test_svg_is_escaped_and_has_no_inline_style() -> None:
    chart = stacked("<b>Requests</b>", ["<i>"], [Series("<u>", "bad", [3])])

    svg = render_to_string("admin/charts/bars.html", {"chart": chart})

    assert "<b>" not in svg and "<i>" not in svg and "<u>" not in svg
    assert "style=" not in svg
    assert 'role="img"' in svg
    assert "3 &lt;u&gt; since &lt;i&gt;. Most at &lt;i&gt;: 3." in svg


def test_bars_and_figures_link_to_their_lists_with_everything_escaped() -> None:
    chart = stacked("Jobs", ["<9>", "10"], [Series("<u>", "bad", [3, 0], urls=["?a=1&b=<2>", "?c"])])

    svg = render_to_string("admin/charts/bars.html", {"chart": chart})

    assert svg.count("<rect") == 1
    assert '<a href="?a=1&amp;b=&lt;2&gt;" tabindex="-1"><rect x=' in svg
    assert "<title>&lt;9&gt;: 3 &lt;u&gt;</title></rect></a>" in svg
    assert '<tr><th scope="row">&lt;9&gt;</th><td><a href="?a=1&amp;b=&lt;2&gt;">3</a></td></tr>' in svg
    assert '<tr><th scope="row">10</th><td>0</td></tr>' in svg
