"""Browser tests of every page where each name, id and message is long and has no blank to break at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import Model
from playwright.sync_api import Page

from alerts.models import Alert
from jobs.models import BulkOperation, FailureGroup, Job, Status, WorkerHeartbeat
from opsconsole import overview
from tests.audit_tables import without_triggers
from tests.journeys import letters
from tests.journeys.scenery import STALE_JOB
from tests.journeys.test_pages import GROUPS, pages
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)

WIDTHS = (360, 390, 768, 900, 1024, 1280, 1440)
HEIGHT = 900
# What follows each name. No line can break in it, as in the ids that other systems make.
TAIL = "_" + "unbroken" * 40
# The columns that people, workers and other systems fill, with the length that each gets.
LONG: dict[str, dict[str, int]] = {
    "jobs.Job": {"customer_id": 255, "worker_id": 128, "error_message": 255, "queue": 120, "priority_level": 100},
    "jobs.WorkerHeartbeat": {"worker_id": 128, "hostname": 128},
    "jobs.WorkerObservation": {"worker_id": 128},
    "jobs.QueueNaming": {"queue": 120},
    "jobs.QueueState": {"name": 120, "error": 255},
    "jobs.Outbox": {"queue": 120, "reason": 255, "last_error": 255, "message_id": 100},
    "jobs.JobEvent": {"actor": 128, "reason": 255},
    "jobs.FailureGroup": {"title": 255, "note": 255},
    "jobs.DeadLetter": {"queue": 120, "body": 255, "message_id": 100},
    "jobs.DeadLetterQueue": {"error": 255},
    "jobs.BulkOperation": {"scope": 255, "sentence": 255, "reason": 255},
    "jobs.BulkMember": {"sentence": 255},
    "jobs.BulkEvent": {"actor": 128, "reason": 255},
    "jobs.ReplayAttempt": {"actor": 128, "reason": 255, "outcome": 255, "new_message_id": 100},
    "jobs.RunProgress": {"text": 255},
    "jobs.RunRollup": {"value": 120},
    "jobs.Sweep": {"note": 255},
    "opsconsole.Pause": {"began_by": 150, "reason": 255},
    "opsconsole.AuditDetail": {"actor": 150, "reason": 255, "result": 255},
    "opsconsole.Refusal": {"who": 150, "subject": 255},
    "opsconsole.SignInIdentity": {"issuer": 255, "subject": 255, "name": 150, "email": 255},
    "opsconsole.Verification": {"by": 150},
    "alerts.Alert": {
        "title": 255, "summary": 255, "unknown_why": 255, "handled_by": 150, "handled_reason": 255,
    },
    "alerts.Notification": {"title": 255, "summary": 255},
    "alerts.Attempt": {"answer": 255},
    "alerts.Channel": {"last_answer": 255, "broken_why": 255},
    "alerts.SnsMessage": {"topic": 255, "about": 255, "effect": 255},
    "alerts.DeadManPing": {"name": 100, "answer": 255},
    "alerts.Monitor": {"name": 120},
    "alerts.Rule": {"changed_by": 150, "reason": 255},
    "alerts.SlackPerson": {"team": 100, "member": 100, "name": 150},
    "ratelimits.ApiKey": {"name": 100, "policy": 100, "created_by": 150, "reason": 255},
    "ratelimits.Policy": {"name": 100, "changed_by": 150},
    "ratelimits.LimiterControl": {"changed_by": 150, "reason": 255},
    "ratelimits.RateLimitHour": {"policy": 100, "endpoint": 255},
    "ratelimits.RateLimitRequest": {"policy": 100, "endpoint": 255, "key": 200},
    "django_q.Task": {"name": 100, "func": 256, "group": 100},
    "django_q.Schedule": {"name": 100, "func": 256},
    "axes.AccessAttempt": {"username": 255, "user_agent": 255, "path_info": 255},
    "admin.LogEntry": {"object_repr": 200},
    "auth.Group": {"name": 150},
    "auth.User": {"first_name": 150, "last_name": 150, "email": 254},
}  # fmt: skip

# Text that leaves the cell, fact or item it stands in runs into its neighbour; what a box hides can be read nowhere.
FAULTS = """isWide => {
    const found = [], root = document.documentElement, name = each =>
        `${each.tagName.toLowerCase()}.${each.className} “${each.textContent.trim().slice(0, 30)}”`;
    for (const each of document.querySelectorAll('#content details:not(.filter)')) each.open = true;
    if (root.scrollWidth > root.clientWidth) found.push(`the page is ${root.scrollWidth} wide`);
    for (const each of isWide ? document.querySelectorAll('.results, .scroll, :has(> table)') : [])
        if (each.scrollWidth > each.clientWidth && each.checkVisibility())
            found.push(`a table scrolls sideways, ${each.scrollWidth} in ${each.clientWidth}: ${name(each)}`);
    for (const each of document.querySelectorAll(
            ':is(#content, #banners, .messagelist) :is(td, th, dd, dt, li, p, h1, h2, h3, label, a, button, summary, .badge)')) {
        if (!each.checkVisibility({visibilityProperty: true}) || each.closest('.visually-hidden, svg, .tabs')) continue;
        if (getComputedStyle(each.closest('thead') || each).clipPath !== 'none') continue;
        const style = getComputedStyle(each), box = each.getBoundingClientRect();
        const texts = document.createTreeWalker(each, NodeFilter.SHOW_TEXT), words = document.createRange();
        let right = 0;
        while (texts.nextNode()) {
            if (texts.currentNode.parentElement.closest('.visually-hidden')) continue;
            words.selectNodeContents(texts.currentNode);
            right = Math.max(right, words.getBoundingClientRect().right);
        }
        if (style.display !== 'inline' && right > box.right + 1) found.push('leaves its place: ' + name(each));
        if (right > root.clientWidth + 1 && !each.closest('.scroll, pre')) found.push('leaves the screen: ' + name(each));
        if (style.overflowX === 'hidden' && each.scrollWidth > each.clientWidth + 1) found.push('is cut: ' + name(each));
    }
    return [...new Set(found)];
}"""


def _lengthen(model: type[Model], lengths: dict[str, int]) -> None:
    """Make each text of these columns that long; equal ones stay equal, so what refers to another row still does."""
    quoted = connection.ops.quote_name
    fields: Any = model._meta
    columns = {quoted(fields.get_field(name).column): length for name, length in lengths.items()}
    each = [f"{name} = left(replace({name}, ' ', '_') || %s, {n})" for name, n in columns.items()]
    some = [f"{name} <> ''" for name in columns]
    with connection.cursor() as cursor:
        for change, only in zip(each, some, strict=True):
            cursor.execute(f"UPDATE {quoted(model._meta.db_table)} SET {change} WHERE {only}", [TAIL])


@pytest.fixture
def console(full_console: str, settings: Any) -> str:
    """Return the address of a console with one row of every model, all of whose names are long."""
    with without_triggers():
        for label, lengths in LONG.items():
            _lengthen(apps.get_model(label), lengths)
    settings.QUEUES = {("default" + TAIL)[:120]: letters.queues()["default"]}
    overview.memory.clear()
    return full_console


def _beside(group: str) -> Iterator[str]:
    if group == "jobs":
        failed = Job.objects.filter(status=Status.FAILED).earliest("pk")
        yield f"jobs/job/{STALE_JOB}/change/"
        yield f"jobs/job/{failed.pk}/change/"
        yield f"jobs/job/operate/cancel/?id={STALE_JOB}&id={failed.pk}"
        yield f"customer/?id={Job.objects.get(pk=STALE_JOB).customer_id}"
    elif group == "workers, sweeps and queues":
        yield from (f"jobs/workerheartbeat/{each.pk}/change/" for each in WorkerHeartbeat.objects.all()[:2])
    elif group == "dead letters":
        yield "jobs/deadletter/?state=all"
        yield f"jobs/deadletter/?group={FailureGroup.objects.latest('last_seen_at').pk}"
        yield f"jobs/deadletter/{letters.CAME_BACK}/change/"
    elif group == "bulk operations":
        yield from (f"jobs/bulkoperation/{each.pk}/change/" for each in BulkOperation.objects.all())
    elif group == "alerts":
        yield "alerts/alert/?state=all"
        yield from (f"alerts/alert/{each.pk}/change/" for each in Alert.objects.all())


@pytest.mark.parametrize("group", GROUPS)
def test_long_names_need_no_sideways_scroll_and_cover_nothing(visitor: Visitor, group: str) -> None:
    page = visitor.log_in("olga")
    found = []
    for path in dict.fromkeys([*pages(group), *_beside(group)]):
        response = page.goto(f"{visitor.address}/admin/{path}")
        assert response is not None
        assert response.status == 200, path
        found += [f"{path[:60]} {line}" for line in _faults(page)]
    assert found == [], "\n".join(found)


def _faults(page: Page) -> Iterator[str]:
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        for fault in page.evaluate(FAULTS, width >= 768):
            yield f"at {width}: {fault}"
