"""Tests of the list of jobs: its filters, the search for IDs and customers, and bounded counts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from jobs.admin.jobs import changelist, filters
from jobs.models import Job, Status
from jobs.runs.diagnosis import Reason, diagnose
from opsconsole.kit import capped_paginator
from tests.factories import SECOND, beat, job, letter, run
from tests.page_costs import fewest_statements

pytestmark = pytest.mark.django_db

LIST = reverse("admin:jobs_job_changelist")
HOUR = timedelta(hours=1)


def shown(client: Client, **query: str) -> list[UUID]:
    response = client.get(LIST, query)
    assert response.status_code == 200, response.headers.get("Location")
    return [row.pk for row in response.context["cl"].result_list]


def one_of_each_trouble() -> dict[Reason | None, Job]:
    dead = run(age=2 * HOUR, silent=HOUR, worker="dead")
    moved = run(age=2 * HOUR, worker="moved")
    beat("moved", uuid4(), 1)
    never = run(age=2 * HOUR, worker="unheard")
    unknown = run(age=13 * HOUR, claimed=False)
    hung = run(age=2 * HOUR, silent=SECOND, worker="hung", deadline_at=Now() - HOUR)
    fine = run(age=60 * SECOND, silent=SECOND, worker="fine")
    return {
        Reason.DEAD_WORKER: dead,
        Reason.WORKER_MOVED_ON: moved,
        Reason.NEVER_BEAT: never,
        Reason.UNKNOWN: unknown,
        Reason.HUNG: hung,
        None: fine,
    }


@pytest.mark.parametrize("reason", list(Reason))
def test_stale_reason_filter_matches_diagnosis(operator: Client, reason: Reason) -> None:
    jobs = one_of_each_trouble()

    assert shown(operator, stale=reason.value) == [jobs[reason].pk]


def test_filters_and_diagnosis_agree_on_every_job() -> None:
    one_of_each_trouble()
    job(updated_at=Now() - HOUR, not_before=Now() - SECOND)
    job(updated_at=Now() - HOUR, not_before=Now() + HOUR)
    job(status=Status.COMPLETED, updated_at=Now() - HOUR)

    for reason in Reason:
        found = set(filters.because(Job.objects.all(), reason).values_list("pk", flat=True))
        said = {each.pk for each in Job.objects.with_evidence() if diagnose(each).reason == reason}
        assert found == said, reason


def test_stale_filter_excludes_runs_that_are_not_stale(operator: Client) -> None:
    jobs = one_of_each_trouble()

    stale = {jobs[reason].pk for reason in (Reason.DEAD_WORKER, Reason.WORKER_MOVED_ON, Reason.NEVER_BEAT)}
    assert set(shown(operator, stale="any")) == stale


def test_list_shows_stale_reason_beside_status(operator: Client) -> None:
    run(age=2 * HOUR, silent=HOUR)

    assert "Dead worker" in operator.get(LIST).content.decode()


@pytest.mark.parametrize(
    ("status", "said"),
    [(Status.FAILED, True), (Status.QUARANTINED, True), (Status.PENDING, False), (Status.COMPLETED, False)],
)
def test_rows_that_need_somebody_say_why(operator: Client, status: Status, said: bool) -> None:
    job(status=status, error_message="\nNo <address> " + "x" * 80 + "\nTraceback")

    page = operator.get(LIST).text

    assert (f"No &lt;address&gt; {'x' * 67}</span>" in page) is said
    assert "Traceback" not in page and "listed-error" not in operator.get(LIST, {"status": "cancelled"}).text


@pytest.mark.parametrize("status", list(Status))
def test_status_filter(operator: Client, status: Status) -> None:
    for each in Status:
        job(status=each)

    assert {Job.objects.get(pk=pk).status for pk in shown(operator, status=status.value)} == {status}


def test_other_filter_finds_unknown_statuses(operator: Client) -> None:
    theirs = [job(status="archived"), job(status="zombie"), job(status="aborted")]
    for status in Status:
        job(status=status)

    assert set(shown(operator, status="other")) == {each.pk for each in theirs}
    assert filters.unknown_statuses() == ["aborted", "archived", "zombie"]


def test_number_of_unknown_statuses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "MOST_STATUSES", 3)
    for number in range(5):
        job(status=f"a{number}")

    assert filters.unknown_statuses() == ["a0", "a1", "a2"]


def test_priority_age_and_queue(operator: Client) -> None:
    old = job(priority_level="gold", created_at=Now() - timedelta(days=8), queue="slow")
    young = job(priority_level="starter", created_at=Now() - 30 * 60 * SECOND)

    assert shown(operator, priority="gold") == [old.pk]
    assert (
        shown(operator, age="hour") == shown(operator, age="day") == shown(operator, age="week") == [young.pk]
    )
    assert shown(operator, age="older") == [old.pk]
    assert shown(operator, queue="slow") == [old.pk]


def test_rare_priority_is_searched_in_bounded_steps(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changelist, "ROWS_LOOKED_THROUGH", 3)
    days = [job(created_at=Now() - timedelta(days=n), priority_level="gold") for n in range(1, 9)]
    old, older = days[5], days[7]
    Job.objects.exclude(pk__in=[old.pk, older.pk]).update(priority_level="starter")

    first = operator.get(LIST, {"priority": "gold"})
    found: set[UUID] = set()
    page = first
    while page.context["cl"].looked_back_to:
        page = operator.get(LIST + page.context["cl"].further_back)
        found |= {row.pk for row in page.context["cl"].result_list}

    assert list(first.context["cl"].result_list) == []
    assert "Search further back" in first.content.decode()
    assert found == {old.pk, older.pk}
    assert "Search further back" not in page.content.decode()


def test_waiting_jobs_are_found_behind_scheduled_ones(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changelist, "ROWS_LOOKED_THROUGH", 3)
    waiting = [job(created_at=Now() - timedelta(days=9)), job(created_at=Now() - timedelta(days=10))]
    for days in range(1, 6):
        job(created_at=Now() - timedelta(days=days), not_before=Now() + timedelta(days=1))
    job(status=Status.COMPLETED)

    page = operator.get(LIST, {"status": "waiting"})
    found: list[UUID] = [row.pk for row in page.context["cl"].result_list]
    while page.context["cl"].looked_back_to:
        page = operator.get(LIST + page.context["cl"].further_back)
        found += [row.pk for row in page.context["cl"].result_list]

    assert found == [each.pk for each in waiting]
    assert shown(operator, status="scheduled", age="week") and not shown(
        operator, status="waiting", age="day"
    )


def test_search_that_finds_more_than_it_shows_does_not_say_how_far_it_went(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changelist, "ROWS_LOOKED_THROUGH", 60)
    monkeypatch.setattr(capped_paginator, "MOST_PAGES", 1)
    for _ in range(70):
        job()

    page = operator.get(LIST, {"status": "waiting"})

    assert page.context["cl"].looked_back_to is None
    assert "Search further" not in page.text


def test_other_filters_and_search_apply_before_bounded_steps(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changelist, "ROWS_APART_LOOKED_THROUGH", 1)
    failed = job(status=Status.FAILED, priority_level="gold", customer_id="ACME", created_at=Now() - HOUR)
    for _ in range(3):
        job(priority_level="gold")

    assert shown(operator, priority="gold", status="failed") == [failed.pk]
    assert shown(operator, priority="gold", q="ACME") == [failed.pk]


def test_select_all_is_not_bounded_by_search_steps(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changelist, "ROWS_LOOKED_THROUGH", 1)
    made = [job(priority_level="gold", created_at=Now() - n * HOUR) for n in range(4)]
    every = {"action": "cancel_selected", "_selected_action": [str(made[0].pk)], "select_across": "1"}

    page = operator.post(LIST + "?priority=gold", every | {"index": "0"}).content.decode()

    assert all(str(each.pk)[:8] in page for each in made)


@pytest.mark.parametrize("query", [{"status": "nonsense"}, {"stale": "nonsense"}, {"age": "nonsense"}])
def test_invalid_choice_matches_nothing(operator: Client, query: dict[str, str]) -> None:
    job()

    assert shown(operator, **query) == []


def test_search_by_id_prefix_and_customer(operator: Client) -> None:
    wanted = job(id=UUID("deadbeef-0000-4000-8000-000000000001"), customer_id="ACME-1")
    sibling = job(id=UUID("deadbeef-ffff-4000-8000-000000000002"), customer_id="ACME-2")
    job(id=UUID("deadbee0-0000-4000-8000-000000000003"), customer_id="ACME-10")

    assert shown(operator, q=str(wanted.pk)) == [wanted.pk]
    assert shown(operator, q=wanted.pk.hex.upper()) == [wanted.pk]
    assert set(shown(operator, q="deadbeef")) == {wanted.pk, sibling.pk}
    assert shown(operator, q="deadbeef-ffff") == [sibling.pk]
    assert shown(operator, q=" ACME-1 ") == [wanted.pk]


@pytest.mark.parametrize("term", ["deadbee", "no such customer", "'; DROP TABLE jobs; --", "%", "f" * 400])
def test_search_without_results_shows_page(operator: Client, term: str) -> None:
    job()

    response = operator.get(LIST, {"q": term})

    assert response.status_code == 200


def test_customer_whose_id_looks_like_a_prefix_is_found(operator: Client) -> None:
    made = job(customer_id="12345678")

    assert shown(operator, q="12345678") == [made.pk]


def test_search_where_customers_have_numbers(operator: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE jobs ALTER customer_id TYPE integer USING 7")
    made = job(customer_id="7")

    assert shown(operator, q="7") == [made.pk]
    assert shown(operator, q="ACME") == []
    assert shown(operator, q=str(made.pk)) == [made.pk]


def test_count_is_bounded_like_paging(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capped_paginator, "MOST_PAGES", 2)
    Job.objects.bulk_create(Job(customer_id="C", package_size=1) for _ in range(101))

    page = operator.get(LIST).content.decode()

    assert "the newest 100 jobs. There are more" in page
    assert operator.get(LIST, {"p": "2"}).status_code == 200
    assert operator.get(LIST, {"p": "3"}).status_code == 302


def test_exact_count_is_not_shown_as_approximate(operator: Client) -> None:
    Job.objects.bulk_create(Job(customer_id="C", package_size=1) for _ in range(3))

    page = operator.get(LIST).content.decode()

    assert "3 jobs" in page
    assert "there are more" not in page


def test_more_rows_need_no_more_queries(operator: Client) -> None:
    run(age=SECOND, silent=SECOND)
    few = len(fewest_statements(operator, LIST))
    for number in range(20):
        letter(run(age=SECOND, silent=SECOND, worker=f"w{number}"))

    assert len(fewest_statements(operator, LIST)) == few


def test_external_text_is_escaped(operator: Client) -> None:
    evil: dict[str, Any] = {"customer_id": "<b>C</b>", "priority_level": "<i>p</i>", "status": "<u>s</u>"}
    made = job(
        **evil, worker_id="<s>w</s>", error_message="<em>e</em>", payload={"x": "<script>alert(1)</script>"}
    )

    for url in (LIST, reverse("admin:jobs_job_change", args=[made.pk])):
        page = operator.get(url).content.decode()
        for tag in ("<b>C", "<i>p", "<u>s", "<s>w", "<em>e", "<script>alert"):
            assert tag not in page, (url, tag)
        assert "&lt;u&gt;s&lt;/u&gt;" in page


def test_list_queries_do_not_grow_with_table(operator: Client) -> None:
    run(age=SECOND, silent=SECOND)
    statements = [sql for sql in fewest_statements(operator, LIST) if 'FROM "jobs"' in sql]

    assert len(statements) == 5, (
        "counts of states, priorities of the newest, count, page, evidence of its rows"
    )
    for statement in statements:
        of_keys = " AS compiled (" in statement and " WHERE c0 IN (" in statement
        assert " LIMIT " in statement or of_keys, statement
        if "worker_heartbeats" in statement:
            assert of_keys, "evidence is read for the shown rows alone"
