"""Tests of the page of a customer: everything about one, for whoever may see it, at the same cost for any number of jobs."""

from __future__ import annotations

import html
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from alerts import notify
from alerts.models import Alert
from alerts.notify import Trouble
from jobs.models import DeadLetter, ReplayAttempt, Status
from opsconsole import customers
from ratelimits.models import RateLimitHour, RateLimitRequest
from ratelimits.models.hour import hash_key
from tests import people
from tests.factories import SECOND, dead_letter, failure_group, job, run
from tests.page_costs import fewest_statements

pytestmark = pytest.mark.django_db


def page(client: Client, customer_id: str) -> str:
    response = client.get(customers.url_of(customer_id))
    assert response.status_code == 200
    return response.content.decode()


def test_page_has_jobs_letters_and_alerts_of_this_customer_only(operator: Client) -> None:
    failed = job(customer_id="ACME/1 & co", status=Status.FAILED)
    running = run(customer_id="ACME/1 & co", age=SECOND, silent=SECOND)
    other = job(customer_id="ACME/1")
    why = failure_group("ValueError: the business has no address")
    letter, others = dead_letter(job_id=failed.pk, group=why), dead_letter(job_id=other.pk)
    notify.fire("a", Trouble(title="Orders of ACME/1 & co have stopped", severity="critical"))
    notify.fire("b", Trouble(title="Orders of ACME/1 & company", severity="critical"))

    shown = page(operator, "ACME/1 & co")

    for each in (failed, running):
        assert reverse("admin:jobs_job_change", args=[each.pk]) in shown
    assert reverse("admin:jobs_job_change", args=[other.pk]) not in shown
    for part in ("letters", "limits", "alerts"):
        assert f'id="{part}-heading"' in shown
    assert reverse("admin:jobs_deadletter_change", args=[letter.pk]) in shown
    assert why.title in shown
    assert reverse("admin:jobs_deadletter_change", args=[others.pk]) not in shown
    assert "Failed 1</a>" in shown and "In progress 1</a>" in shown
    assert "ACME/1 &amp; co have stopped" in shown and "company" not in shown


def test_critical_alerts_come_first(operator: Client) -> None:
    job(customer_id="ACME")
    for number, severity in enumerate(["critical", "warning", "critical", "warning"]):
        notify.fire(f"a{number}", Trouble(title=f"ACME {number}", severity=severity))
    Alert.objects.filter(fingerprint="a2").update(state="acknowledged")

    shown = page(operator, "ACME")

    assert sorted(range(4), key=lambda number: shown.index(f"ACME {number}</a>")) == [0, 3, 1, 2]


def test_state_of_a_letter_is_that_of_its_list(operator: Client) -> None:
    failed = job(customer_id="ACME", status=Status.FAILED)
    first = dead_letter(job_id=failed.pk, state=DeadLetter.State.REPLAYED)
    ReplayAttempt.objects.create(
        letter=first,
        action=ReplayAttempt.Action.REPLAY,
        state=ReplayAttempt.State.DONE,
        actor="operator:olga",
    )
    again = dead_letter(job_id=failed.pk, returned_from=first, returns=1)
    shown = page(operator, "ACME")
    assert 'badge-bad">Replayed, failed again</span>' in shown
    assert f"as <code>{str(again.pk)[:8]}</code>" in shown


def test_job_page_and_search_lead_there(operator: Client) -> None:
    made = job(customer_id="CUST 7&8")
    link = html.escape(customers.url_of("CUST 7&8"))
    assert link in operator.get(reverse("admin:jobs_job_change", args=[made.pk])).content.decode()
    found = operator.get(reverse("search"), {"q": "CUST 7&8"}).content.decode()
    assert "Customer CUST 7&amp;8" in found


def test_unknown_customer_leads_to_the_search(operator: Client) -> None:
    assert operator.get(customers.url_of("nobody")).headers["Location"] == f"{reverse('search')}?q=nobody"
    for impossible in ("", "x" * 501):
        assert operator.get(customers.url_of(impossible)).headers["Location"].startswith(reverse("search"))


@pytest.mark.parametrize("rolled_up", [False, True], ids=["lately", "hours ago"])
def test_client_of_another_service_is_named_once_a_request_was_counted(
    operator: Client, *, rolled_up: bool
) -> None:
    job(customer_id="ACME")
    assert "The rate limiter knows no client by this id." in page(operator, "ACME")
    if rolled_up:
        RateLimitHour.objects.create(
            hour=Now() - timedelta(hours=5), policy="p", key_hash=hash_key("check:ACME"), endpoint="/", method="GET",
            outcome="allowed", hits=1,
        )  # fmt: skip
    else:
        RateLimitRequest.objects.create(key="check:ACME", endpoint="/", method="GET", outcome="allowed")
    assert "Client ACME (of another service)" in page(operator, "ACME")


def test_each_part_is_for_those_who_may_see_it(client: Client) -> None:
    made = job(customer_id="ACME")
    dead_letter(job_id=made.pk)
    notify.fire("a", Trouble(title="ACME waits", severity="critical"))
    user = people.viewer()
    user.user_permissions.remove(
        *user.user_permissions.filter(codename__in=["view_deadletter", "view_alert", "view_ratelimithour"])
    )
    client.force_login(User.objects.get(pk=user.pk))
    shown = page(client, "ACME")
    for part in ("letters", "limits", "alerts"):
        assert f'id="{part}-heading"' not in shown
    user.user_permissions.remove(*user.user_permissions.filter(codename="view_job"))
    client.force_login(User.objects.get(pk=user.pk))
    assert client.get(customers.url_of("ACME")).status_code == 403


def test_cost_does_not_grow_with_jobs(operator: Client) -> None:
    job(customer_id="ACME")
    url = customers.url_of("ACME")
    few = len(fewest_statements(operator, url))
    for _ in range(customers.MOST_SHOWN + 5):
        dead_letter(job_id=job(customer_id="ACME").pk)
    assert len(fewest_statements(operator, url)) == few <= 18
    assert "Waiting or scheduled 26" in page(operator, "ACME")
