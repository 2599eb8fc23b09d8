"""Alerts through the operator's API: the decisions of the page, with its audit."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from alerts.models import Alert
from ratelimits.keys import api_keys
from tests import people
from tests.operators import WHY, Program, audited
from tests.racing import race
from tests.sending import versions_on

pytestmark = pytest.mark.django_db
ALL = ("alerts:read", "alerts:operate")


@pytest.fixture(autouse=True)
def _no_keys() -> None:
    api_keys.clear_cache()


def alert(**fields: Any) -> Alert:
    number = Alert.objects.count()
    known = {"fingerprint": f"f-{number}", "severity": "critical", "title": f"Alert {number}"}
    return Alert.objects.get(pk=Alert.objects.create(**known | fields).pk)


def seen(program: Program, one: Alert) -> str:
    return str(program.get(f"alerts/{one.pk}").json()["alert"]["version"])


def test_list_shows_open_alerts_newest_first_and_filters() -> None:
    made = [alert(since=Now() - timedelta(hours=hours)) for hours in (3, 2, 1)]
    closed = alert(state="resolved", resolved_at=Now(), severity="info", rule="dead_letters")
    program = Program("alerts:read")

    first = program.get("alerts", limit=2).json()
    assert [each["number"] for each in first["alerts"]] == [made[2].pk, made[1].pk]
    rest = program.get("alerts", limit=2, after=first["next"]).json()
    assert ([each["number"] for each in rest["alerts"]], rest["next"]) == ([made[0].pk], None)
    for query in (
        {"state": "resolved"},
        {"state": "all", "severity": "info"},
        {"state": "all", "rule": "dead_letters"},
    ):
        assert [each["number"] for each in program.get("alerts", **query).json()["alerts"]] == [closed.pk]
    for query in (
        {"state": "opne"},
        {"severity": "high"},
        {"sort": "since"},
        {"after": "e30"},
        {"after": "a" * 1001},
    ):
        assert program.get("alerts", **query).status_code == 422, query


def test_acknowledging_leaves_the_same_lines_as_the_page(client: Client) -> None:
    by_page, by_program = alert(), alert()
    client.force_login(people.operator())
    page = reverse("admin:alerts_alert_decide", args=["acknowledge"])
    preview = client.get(page, {"id": by_page.pk})
    client.post(page, {"id": by_page.pk, "reason": WHY} | versions_on(preview))
    program = Program(*ALL)

    answer = program.change(f"alerts/{by_program.pk}/acknowledge", seen(program, by_program), once="a")

    assert (answer.status_code, answer.json()["did"]) == (200, "Acknowledged.")
    assert answer.json()["alert"]["state"] == "acknowledged"
    of_page, of_program = audited()
    assert of_page[2:] == of_program[2:] == ("Acknowledged.", WHY, "")
    assert (of_page[1], of_program[1]) == ("olga", program.actor)
    stored = Alert.objects.get(pk=by_program.pk)
    assert (stored.handled_by, stored.handled_reason) == (program.actor, WHY)
    again = program.change(f"alerts/{by_program.pk}/acknowledge", "0" * 32, once="b")
    assert (again.status_code, again.json()["reason"]) == (409, "changed")
    assert again.json()["current"]["handled_by"] == program.actor


def test_snooze_ends_by_the_clock_of_the_database_and_is_bounded() -> None:
    one = alert()
    program = Program(*ALL)
    version = seen(program, one)
    for minutes in (0, -1, 43_201, 10**40, "60", 1.5, None, True):
        assert program.change(f"alerts/{one.pk}/snooze", version, minutes=minutes).status_code == 422, minutes
    assert program.change(f"alerts/{one.pk}/snooze", version).status_code == 422

    answer = program.change(f"alerts/{one.pk}/snooze", version, minutes=60)

    assert answer.status_code == 200 and answer.json()["did"].startswith("Snoozed until ")
    left = Alert.objects.filter(
        snoozed_until__gt=Now() + timedelta(minutes=59), snoozed_until__lte=Now() + timedelta(hours=1)
    )
    assert left.get().state == "snoozed"


def test_resolved_alert_is_refused_and_another_number_is_unknown() -> None:
    one = alert()
    program = Program(*ALL)
    resolved = program.change(f"alerts/{one.pk}/resolve", seen(program, one))
    assert (resolved.status_code, resolved.json()["alert"]["state"]) == (200, "resolved")
    now = resolved.json()["alert"]["version"]

    for path in ("acknowledge", "resolve"):
        refused = program.change(f"alerts/{one.pk}/{path}", now)
        assert (refused.status_code, refused.json()["reason"]) == (409, "refused"), path
    assert program.change(f"alerts/{one.pk}/snooze", now, minutes=5).json()["reason"] == "refused"
    assert program.get(f"alerts/{one.pk}").json()["decisions"] == []
    for number in (one.pk + 1, 2**31, 10**18, 10**60):
        assert program.get(f"alerts/{number}").status_code == 404
        assert program.change(f"alerts/{number}/resolve", now).status_code == 404
    assert len(audited()) == 1


def test_reason_may_be_left_out_where_the_page_asks_for_none() -> None:
    one = alert()
    program = Program(*ALL)
    resolve = program.post(f"alerts/{one.pk}/resolve", {"version": seen(program, one)})
    assert resolve.status_code == 422
    done = program.post(f"alerts/{one.pk}/acknowledge", {"version": seen(program, one)})
    assert (done.status_code, Alert.objects.get().handled_reason) == (200, "")
    assert [line[2:] for line in audited()] == [("Acknowledged.", "", "")]


@pytest.mark.django_db(transaction=True)
def test_of_two_decisions_at_once_the_second_learns_of_the_first() -> None:
    one = alert()
    program = Program(*ALL)
    version = seen(program, one)

    paths = (f"alerts/{one.pk}/{name}" for name in ("acknowledge", "resolve"))

    answers = race([partial(program.change, path, version) for path in paths])

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert len(audited()) == 1
