"""Template tags and filters for times, figures and labelled cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django import template
from django.contrib.admin.helpers import AdminReadonlyField
from django.contrib.admin.models import LogEntry
from django.contrib.admin.templatetags.admin_list import result_headers
from django.template import Context
from django.utils.html import escape, format_html, strip_tags
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django_stubs_ext import WithAnnotations

from jobs.admin import labels
from jobs.models import Job
from opsconsole import overview
from opsconsole.kit import (
    actors,
    addresses,
    audit,
    chart_drawing,
    display,
    durations,
    job_pages,
    list_cells,
    page_permissions,
    route_patterns,
    short_ids,
)
from opsconsole.kit.audit import AuditParts
from opsconsole.kit.bounded_columns import is_cut
from opsconsole.kit.chart_drawing import Rectangle
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.page_permissions import Person
from opsconsole.navigation import NAMES
from opsconsole.sign_in.look_only import sentence as sentence_of_look_only
from opsconsole.trends import drawing, marks
from opsconsole.trends.drawing import MarkedAxis

register = template.Library()
# Characters of a fact that has a column beside others.
LONGEST_IN_A_COLUMN, LONGEST_WORD = 30, 18


@register.filter
def rectangles(bars: Iterable[Rectangle]) -> SafeString:
    return chart_drawing.rectangles(bars)


@register.filter
def table_rows(rows: Iterable[Sequence[tuple[str, str]]]) -> SafeString:
    return chart_drawing.table_rows(rows)


@register.simple_tag(takes_context=True)
def look_only(context: Context) -> str:
    """Return what this person can't do on the page, and who can; '' where nothing is left out."""
    opts, user = context.get("opts"), context.get("user")
    return sentence_of_look_only(user, opts.label_lower) if opts and user else ""


@register.filter
def inline_markup(text: str) -> SafeString:
    return display.inline_markup(text)


@register.filter
def row_key(key: object) -> str:
    return addresses.row_key(key)


@register.filter
def age(at: datetime | None, suffix: str = "") -> SafeString:
    return display.age(at, suffix=suffix)


@register.filter
def exact_with_age(at: datetime) -> SafeString:
    return display.exact_with_age(at)


@register.filter
def field_contents(field: AdminReadonlyField) -> str:
    """Show a field of a read-only page as Django does, but a time with its age."""
    value = getattr(field.form.instance, field.field["name"], None)
    return display.exact_with_age(value) if isinstance(value, datetime) else field.contents()


@register.filter
def is_wide(contents: str) -> bool:
    """Tell whether a fact takes the whole width: it is long, or has a word that a column would break."""
    text = strip_tags(contents)
    longest = max(map(len, text.split()), default=0)
    return "<time" not in contents and (len(text) > LONGEST_IN_A_COLUMN or longest > LONGEST_WORD)


@register.filter
def age_at(at: datetime | None, now: datetime) -> SafeString:
    """Show an age by the clock of ``now``, such as the database's, instead of this host's."""
    return display.age(at, now, suffix=" ago")


@register.filter
def lasting_at(began: datetime | None, now: datetime) -> SafeString:
    """Show how long something has lasted by the clock of ``now``: '45 min', where an age would be '45 min ago'."""
    return display.age(began, now)


@register.filter
def clock_time(at: datetime) -> str:
    return display.clock_time(at)


@register.filter
def spell(time: timedelta) -> str:
    return durations.unbroken(durations.spell(time))


@register.filter
def rough(time: timedelta) -> str:
    return durations.unbroken(display.rough(time))


@register.filter
def page_name(opts: Any) -> str:
    """Return the name of a model's list, as in the navigation."""
    return NAMES.get(opts.label) or capfirst(str(opts.verbose_name_plural))


@register.filter
def grouped(number: int) -> str:
    """Format a number with separators: 4,812."""
    return f"{number:,}"


@register.filter
def pretty(value: Any) -> SafeString:
    return display.pretty(value)


@register.simple_tag
def whole(value: object, view: str, key: object, column: str) -> SafeString:
    """Show a link to the download of a column, if ``value`` is only its beginning."""
    return display.whole_link(view, key, column) if is_cut(value) else SafeString("")


@register.filter
def may_see(user: Person, page: str) -> bool:
    return page_permissions.may_see(user, page)


@register.filter
def object_name(entry: LogEntry) -> str:
    return audit.named_beside_kind(entry)


@register.simple_tag(takes_context=True)
def tile(context: Context, label: str, count: int, model: str, query: str, tone_when_any: str) -> SafeString:
    """Show a figure that links to its list to those who may open it.

    ``tone_when_any`` colours it when it is not zero; a zero is quiet.
    """
    if not may_see(context["user"], model):
        return SafeString("")
    return format_html(
        '<div class="{}"><dt><a href="{}{}">{}</a></dt><dd>{}</dd></div>',
        f"tone-{tone_when_any}" if count and tone_when_any else "" if count else "zero",
        addresses.fixed(f"admin:{model}_changelist"),
        query,
        label,
        overview.figure(count),
    )


@register.simple_tag(takes_context=True)
def measured(
    context: Context, label: str, count: int | None, model: str, query: str, line: float | None, *, note: str
) -> SafeString:
    """Show a figure that may be unknown, with its target; red above the threshold of its alert."""
    if not may_see(context["user"], model):
        return SafeString("")
    over = count is not None and line is not None and count > line
    return format_html(
        '<div class="{}" data-measured><dt><a href="{}{}">{}</a>{}</dt><dd>{}</dd></div>',
        "tone-bad" if over else "tone-warning" if count is None else "" if count else "zero",
        addresses.fixed(f"admin:{model}_changelist"),
        query,
        label,
        format_html("<small>{}</small>", _target(note, line)) if note else "",
        "unknown" if count is None else overview.figure(count),
    )


def _target(note: str, line: float | None) -> SafeString:
    if line is None:
        return escape(note)
    return format_html('{}, <span class="nowrap">alert above {}</span>', note, f"{line:,.0f}")


@register.simple_tag
def finding_advice(finding: overview.Finding) -> SafeString:
    """Show what to do first, with its one action beside it."""
    return format_html(
        '<span class="advice">{}</span> <a class="act" href="{}">{}</a>',
        finding.advice,
        finding.url,
        finding.where,
    )


@register.simple_tag
def chart_marks(user: Person, begin: datetime, end: datetime) -> MarkedAxis:
    """Return what this person may see of what people did in the time that the axis of a chart shows."""
    return drawing.marked_axis(marks.within(user, begin, end), begin, end)


@register.inclusion_tag("admin/change_list_results.html")
def list_of_rows(of_list: Any) -> dict[str, Any]:
    """Show the rows of a list, each with its key, which tells a live page which lines stayed."""
    headers = list(result_headers(of_list))
    cells = zip(of_list.result_list, list_cells.rows(of_list, headers), strict=True)
    return {"result_headers": headers, "rows": list(cells)}


@register.simple_tag
def fact(value: str | datetime | timedelta | None, now: datetime) -> str | None:
    """Show a time as an age by the clock of ``now``, and a duration as what has lasted; show words unchanged."""
    if isinstance(value, timedelta):
        return f"for {durations.unbroken(display.rough(value))}"
    return display.age(value, now, suffix=" ago") if isinstance(value, datetime) else value


@register.filter
def exactly(at: datetime | None) -> str | SafeString:
    """Show the exact time in UTC, which needs no hover."""
    return display.moment(at, f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC") if at else display.NOTHING


@register.filter
def route(text: str) -> str:
    return route_patterns.documented(text)


@register.filter
def job_page(value: object) -> str:
    return job_pages.job_page(value)


@register.filter
def short_id(value: object) -> str:
    return short_ids.short_id(value)


@register.simple_tag
def status(job: WithAnnotations[Job, DbNow]) -> SafeString:
    return labels.job_status(job, job.db_now)


@register.filter
def audit_parts(entry: LogEntry) -> AuditParts:
    """Return the parts of an audit line: what was done, why, and with what result."""
    return audit.parts_of(entry)


@register.filter
def actor(name: str) -> str:
    """Name an actor of a row as people read it: 'ada', not 'operator:ada'."""
    return actors.in_words(name)


@register.filter
def who(entry: LogEntry) -> str:
    """Return who did what an audit line says."""
    return audit.who(entry)
