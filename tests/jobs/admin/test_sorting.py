"""Tests of the orders of lists: what they show first, what they leave out, and how far back they read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from jobs.admin import list_choice
from jobs.admin.jobs import changelist
from jobs.intake import waits
from jobs.models import BulkMember, Job, Status
from tests import people
from tests.factories import dead_letter, job
from tests.page_text import spaced

pytestmark = pytest.mark.django_db

JOBS = reverse("admin:jobs_job_changelist")
LETTERS = reverse("admin:jobs_deadletter_changelist")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(people.operator())
    return client


def shown(client: Client, query: str, address: str = JOBS) -> list[Any]:
    return [row.pk for row in client.get(address + query).context["cl"].result_list]


def ended(took: int, *, ago: int = 0) -> Any:
    """Return a job that was created ``ago`` minutes ago, whose last run took that many minutes."""
    began = Now() - 90 * MINUTE
    return job(
        status=Status.COMPLETED,
        created_at=Now() - ago * MINUTE,
        started_at=began,
        completed_at=began + took * MINUTE,
    ).pk


def test_longest_waits_come_first_without_what_waits_for_its_time(operator: Client) -> None:
    short, long = (job(updated_at=Now() - n * MINUTE).pk for n in (5, 50))
    job(updated_at=Now() - 99 * MINUTE, not_before=Now() + MINUTE)
    job(status=Status.FAILED)

    assert shown(operator, "?sort=waited") == [long, short]
    assert "50 min" in spaced(operator.get(f"{JOBS}?sort=waited").content.decode())


def test_a_wait_counts_from_the_time_that_a_job_was_scheduled_for(operator: Client) -> None:
    """As ``waits.since`` says, which the column shows."""
    enqueued_long_ago = job(updated_at=Now() - 999 * MINUTE, not_before=Now() - 20 * MINUTE)
    requeued = job(updated_at=Now() - 10 * MINUTE, not_before=Now() - 500 * MINUTE)
    unscheduled = [job(updated_at=Now() - n * MINUTE) for n in (5, 15, 30)]

    expected = sorted(
        Job.objects.filter(pk__in=[each.pk for each in (enqueued_long_ago, requeued, *unscheduled)]),
        key=waits.since,
    )

    assert shown(operator, "?sort=waited") == [each.pk for each in expected]
    assert expected[1].pk == enqueued_long_ago.pk


def test_waits_are_looked_for_from_the_oldest_job_on(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a million scheduled jobs, not all of these are read."""
    monkeypatch.setattr(changelist, "ROWS_LOOKED_THROUGH", 3)
    short, long, behind = (
        job(created_at=Now() - ago * MINUTE, updated_at=Now() - waits_for * MINUTE).pk
        for ago, waits_for in ((70, 2), (60, 40), (30, 30))
    )
    for ago in (80, 50):
        job(created_at=Now() - ago * MINUTE, updated_at=Now() - ago * MINUTE, not_before=Now() + MINUTE)

    page = operator.get(f"{JOBS}?sort=waited")

    assert [row.pk for row in page.context["cl"].result_list] == [long, short]
    assert "among the oldest 3 waiting or scheduled ones that match" in page.content.decode()
    further = page.context["cl"].further_back
    assert "sort=waited" in further
    assert shown(operator, further) == [behind]


def test_longest_running_come_first(operator: Client) -> None:
    short, long = (
        job(status=Status.IN_PROGRESS, started_at=Now() - n * MINUTE, updated_at=Now()).pk for n in (3, 33)
    )
    unknown = job(status=Status.IN_PROGRESS, started_at=None, updated_at=Now()).pk
    ended(88)

    assert shown(operator, "?sort=running") == [long, short, unknown]
    assert "33 min" in spaced(operator.get(f"{JOBS}?sort=running").content.decode())


def test_jobs_by_run_time_attempts_customer_and_queue(operator: Client) -> None:
    quick, slow = ended(1), ended(70)
    Job.objects.filter(pk=quick).update(attempts=4, customer_id="B", queue="a")
    Job.objects.filter(pk=slow).update(attempts=1, customer_id="A", queue="b")

    assert shown(operator, "?sort=took") == [slow, quick]
    assert shown(operator, "?sort=attempts") == [quick, slow]
    assert shown(operator, "?sort=customer") == [slow, quick]
    assert shown(operator, "?sort=queue") == [quick, slow]


def test_order_without_an_index_says_how_far_back_it_read(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changelist, "ROWS_LOOKED_THROUGH", 2)
    oldest, third, second, first = ended(80, ago=4), ended(1, ago=3), ended(40, ago=2), ended(9, ago=1)

    page = operator.get(f"{JOBS}?sort=took")

    assert [row.pk for row in page.context["cl"].result_list] == [second, first, third]
    assert "among the newest 2 that match the other filters" in page.content.decode()
    further = page.context["cl"].further_back
    assert "sort=took" in further
    assert shown(operator, further) == [oldest]


def test_order_of_a_column_and_of_the_menu_replace_each_other(operator: Client) -> None:
    [menu] = [
        spec
        for spec in operator.get(f"{JOBS}?o=5&status=completed").context["cl"].filter_specs
        if spec.parameter_name == "sort"
    ]
    choices = list(menu.choices(operator.get(f"{JOBS}?o=5&status=completed").context["cl"]))

    assert choices[0]["display"] == "Newest first" and choices[0]["selected"]
    assert {choice["query_string"].count("o=5") for choice in choices} == {0}
    assert {choice["query_string"].count("status=completed") for choice in choices} == {1}


def test_heading_of_a_column_is_marked_only_while_it_sorts(operator: Client) -> None:
    ended(1)

    assert operator.get(f"{JOBS}?sort=took").context["cl"].get_ordering_field_columns() == {}
    assert operator.get(f"{JOBS}?o=5").context["cl"].get_ordering_field_columns() == {5: "asc"}


def test_counts_stay_beside_the_states_of_a_sorted_list(operator: Client) -> None:
    for _ in range(3):
        ended(1)

    page = operator.get(f"{JOBS}?sort=attempts").content.decode()

    assert 'Completed <span class="quiet">3</span>' in page


def test_all_that_match_are_those_that_a_sorted_list_shows(operator: Client, settings: Any) -> None:
    settings.OPSCONSOLE_BULK_AT_ONCE = 2
    waits = [job(updated_at=Now() - n * MINUTE) for n in (5, 6, 7)]
    job(status=Status.FAILED)
    chosen = {
        "action": "cancel_selected",
        "index": "0",
        "select_across": "1",
        "_selected_action": [str(waits[0].pk)],
    }

    operator.post(f"{JOBS}?sort=waited", chosen)

    assert set(BulkMember.objects.values_list("subject", flat=True)) == {str(each.pk) for each in waits}


def test_api_and_commands_have_no_order_to_choose() -> None:
    with pytest.raises(list_choice.UnknownFilter) as refused:
        list_choice.choose(Job, {"sort": "took"}, "", people.operator())
    assert "sort" not in refused.value.known


def test_letters_that_sqs_deletes_first_come_first(operator: Client) -> None:
    later, soon = (dead_letter(expires_at=Now() + n * MINUTE).pk for n in (90, 9))
    dead_letter(state="kept")

    assert shown(operator, "?sort=deleted", LETTERS) == [soon, later]


def test_overview_leads_to_the_longest_wait_and_the_letter_that_is_deleted_first(operator: Client) -> None:
    page = operator.get("/admin/").content.decode()

    assert 'href="/admin/jobs/job/?sort=waited">Oldest wait' in page
    assert 'href="/admin/jobs/deadletter/?sort=deleted">Next letter expires in' in page


def test_workers_are_sorted_by_columns(operator: Client) -> None:
    page = operator.get(f"{reverse('admin:jobs_workerheartbeat_changelist')}?o=0")

    assert page.context["cl"].get_ordering_field_columns() == {0: "asc"}
