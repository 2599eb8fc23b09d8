"""Tests of the filters whose value is typed, of the counts beside states, and of what an address keeps."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from jobs.admin import list_choice, state_counts
from jobs.admin.jobs import changelist
from jobs.admin.list_choice import UnknownFilter
from jobs.models import BulkOperation, DeadLetter, Job, JobEvent, Status
from tests import factories
from tests.factories import job

pytestmark = pytest.mark.django_db

LIST = reverse("admin:jobs_job_changelist")
LETTERS = reverse("admin:jobs_deadletter_changelist")
HOUR = timedelta(hours=1)


def shown(client: Client, address: str = LIST, **query: str) -> list[Any]:
    response = client.get(address, query)
    assert response.status_code == 200, response.headers.get("Location")
    return [row.pk for row in response.context["cl"].result_list]


def test_customer_worker_and_error(operator: Client) -> None:
    wanted = job(
        customer_id="ACME-1", worker_id="w-1", error_message="Traceback\nTypeError: address is missing"
    )
    job(customer_id="ACME-10", worker_id="w-10", error_message="KeyError: 'address'")
    job()

    assert shown(operator, customer="ACME-1") == shown(operator, worker="w-1") == [wanted.pk]
    assert shown(operator, error="typeerror") == shown(operator, error="IS MISSING") == [wanted.pk]
    assert shown(operator, error="address", customer="ACME-1", worker=" w-1 ") == [wanted.pk]
    assert (
        shown(operator, error="%") == shown(operator, customer="nobody") == shown(operator, worker="w") == []
    )


def test_customers_that_are_numbers(operator: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE jobs ALTER customer_id TYPE integer USING 7")
    made = job(customer_id="7")

    assert shown(operator, customer="7") == [made.pk]
    assert shown(operator, customer="ACME") == []


def test_time_ranges(operator: Client) -> None:
    now = timezone.now().replace(microsecond=0)
    old, young = (job(created_at=now - hours * HOUR, updated_at=now - hours * HOUR) for hours in (5, 2))
    done = job(status=Status.COMPLETED, created_at=now - 9 * HOUR, completed_at=now - HOUR)
    failed = job(status=Status.FAILED, created_at=now - 9 * HOUR, updated_at=now - 3 * HOUR)

    def at(hours: int) -> str:
        return f"{now - hours * HOUR:%Y-%m-%dT%H:%M:%S}"

    assert shown(operator, since=at(5)) == [young.pk, old.pk]
    assert shown(operator, since=at(5), before=at(2)) == [old.pk]
    assert shown(operator, before=f"{(now - 2 * HOUR).isoformat()}", since=at(5)) == [old.pk]
    assert shown(operator, finished_since=at(2)) == [done.pk]
    assert set(shown(operator, finished_since=at(4), finished_before=at(0))) == {done.pk, failed.pk}
    assert shown(operator, finished_before=at(2)) == [failed.pk]


@pytest.mark.parametrize(
    "query",
    [
        *({name: "nonsense"} for name in ("since", "before", "finished_since", "finished_before")),
        {"before": "2026-13-45T00:00:00Z"},
        {"before": "0001-01-01T00:00:00+10:00"},
        {"error": "x" * 501},
    ],
)
def test_what_cannot_be_read_matches_nothing(operator: Client, query: dict[str, str]) -> None:
    job()

    page = operator.get(LIST, query)

    assert page.status_code == 200
    assert list(page.context["cl"].result_list) == []
    assert "Nothing matches it." in page.content.decode()
    with pytest.raises(UnknownFilter):
        list_choice.choose(Job, query, "", AnonymousUser())


@pytest.mark.parametrize(
    ("address", "begin", "end"),
    [(LIST, "since", "before"), (LIST, "finished_since", "finished_before"), (LETTERS, "since", "before")],
)
def test_range_that_ends_before_it_begins_says_so(
    operator: Client, address: str, begin: str, end: str
) -> None:
    said = "This is not later than 2026-11-20 06:00"
    turned = operator.get(address, {begin: "2026-11-20 06:00", end: "2026-11-19"}).content.decode()
    assert said in turned and "Nothing matches it." in turned
    assert said not in operator.get(address, {begin: "2026-11-20 06:00", end: "2026-11-21"}).content.decode()


def test_jobs_of_a_failure_group_need_the_permission_to_see_groups(operator: Client) -> None:
    failed, other = job(), job()
    letter = factories.dead_letter(failed)
    factories.dead_letter(other, group=factories.failure_group("g2"))

    assert shown(operator, group=str(letter.group_id)) == [failed.pk]
    viewer = User.objects.create_user("jobs only", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_job"))
    operator.force_login(viewer)
    assert operator.get(LIST).status_code == 200
    assert operator.get(LIST, {"group": str(letter.group_id)}).status_code == 400


def test_letters_by_customer_worker_and_time(operator: Client) -> None:
    made = job(customer_id="ACME-1")
    JobEvent.objects.create(job_id=made.pk, kind=JobEvent.Kind.CLAIMED, run_epoch=1, actor="worker:w-1")
    wanted = factories.dead_letter(made)
    old = factories.dead_letter()
    DeadLetter.objects.filter(pk=old.pk).update(first_seen_at=Now() - 9 * HOUR)
    since = f"{timezone.now() - HOUR:%Y-%m-%d %H:%M}"

    assert (
        shown(operator, LETTERS, customer="ACME-1") == shown(operator, LETTERS, worker="w-1") == [wanted.pk]
    )
    assert shown(operator, LETTERS, since=since) == [wanted.pk]
    assert shown(operator, LETTERS, before=since) == [old.pk]
    assert shown(operator, LETTERS, worker="w") == shown(operator, LETTERS, customer="nobody") == []
    assert shown(operator, LETTERS, o="6") == [old.pk, wanted.pk]


def test_counts_stand_beside_states_and_are_bounded(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_counts, "COUNTED_TO", 3)
    for status, number in ((Status.FAILED, 5), (Status.PENDING, 2), (Status.COMPLETED, 3)):
        for _ in range(number):
            job(status=status, customer_id="ACME" if status == Status.COMPLETED else "C")

    assert _counts(operator) == {"failed": "3+", "failed_day": "3+", "pending": "2", "completed": "3"}
    assert _counts(operator, customer="ACME") == {"completed": "3"}
    assert _counts(operator, customer="C", status="failed").keys() <= {"failed", "pending"}
    assert _counts(operator, error="x") == _counts(operator, q="ACME") == {}
    factories.dead_letter()
    assert _counts(operator, LETTERS) == {"in_queue": "1"}


def _counts(client: Client, address: str = LIST, **query: str) -> dict[str, str]:
    changes = client.get(address, query).context["cl"]
    [spec] = [each for each in changes.filter_specs if each.parameter_name in {"status", "state"}]
    counts = [choice.get("count", "") for choice in spec.choices(changes)][1:]
    return {
        str(value): count
        for (value, _), count in zip(spec.lookup_choices, counts, strict=False)
        if count not in {"", "0"}
    }


def test_oldest_first(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changelist, "ROWS_LOOKED_THROUGH", 2)
    made = [job(created_at=Now() - hours * HOUR, worker_id=f"w{hours}") for hours in (4, 3, 2, 1)]

    assert shown(operator, o="5") == [each.pk for each in made]
    assert shown(operator, o="5", worker="w1") == []
    page = operator.get(LIST, {"o": "5", "worker": "w1"})
    assert "Search further on" in page.content.decode()
    further = operator.get(LIST + page.context["cl"].further_back)
    assert [row.pk for row in further.context["cl"].result_list] == [made[-1].pk]


def test_fields_that_were_left_empty_are_no_part_of_the_address(operator: Client) -> None:
    answer = operator.get(LIST, {"status": "failed", "customer": "", "since": "", "worker": "w-1"})

    assert answer.status_code == 302
    assert answer["Location"] == f"{LIST}?status=failed&worker=w-1"
    assert operator.get(LIST, {"customer": ""})["Location"] == LIST


def test_form_and_search_keep_the_other_filters(operator: Client) -> None:
    query = {"status": "failed", "customer": "ACME", "q": "x", "o": "5"}
    page = operator.get(LIST, query).content.decode()
    form = page[page.index('class="typed-filters"') :]
    form = form[: form.index("</form>")]

    for kept in ('name="status" value="failed"', 'name="q" value="x"', 'name="o" value="5"'):
        assert f'type="hidden" {kept}' in form
    assert 'id="filter-customer" name="customer" value="ACME"' in form
    assert 'type="hidden" name="customer" value="ACME"' in page, "of the search"
    assert "?o=5&amp;q=x&amp;status=failed" in page, "the link that removes the filter"


def test_all_that_match_are_frozen_without_a_selected_row(operator: Client, settings: Any) -> None:
    """As without JavaScript, where the box says all that match."""
    settings.OPSCONSOLE_BULK_AT_ONCE = 2
    made = {str(job(customer_id="ACME", status=Status.FAILED).pk) for _ in range(3)}
    job(customer_id="other", status=Status.FAILED)
    query = urlencode({"customer": "ACME", "since": "2020-01-01"})
    chosen = {"action": ["", "requeue_selected"], "index": "1", "select_across": ["0", "1"]}

    operator.post(f"{LIST}?{query}", chosen)

    operation = BulkOperation.objects.get()
    assert set(operation.members.values_list("subject", flat=True)) == made
    assert operation.query == query
    assert operation.scope == "customer: ACME, created from: 2020-01-01 00:00:00 UTC"


def test_times_name_their_day_also_today(operator: Client, settings: Any) -> None:
    """Who gets the address, or reads what an operation chose, may do so tomorrow."""
    settings.OPSCONSOLE_BULK_AT_ONCE = 0
    job(customer_id="ACME", status=Status.FAILED)
    today = f"{timezone.now():%Y-%m-%d}"
    chosen = {"action": ["", "requeue_selected"], "index": "1", "select_across": ["0", "1"]}

    page = operator.get(LIST, {"since": today, "before": "2020-01-01"}).text
    operator.post(f"{LIST}?{urlencode({'since': today})}", chosen)

    assert f"This is not later than {today} 00:00:00 UTC" in page
    assert BulkOperation.objects.get().scope == f"created from: {today} 00:00:00 UTC"


def test_years_have_four_digits_in_their_field(operator: Client) -> None:
    """As browsers want it: they empty the field for another value, and the next form would leave the filter out."""
    assert 'value="0099-01-01T00:00:00"' in operator.get(LIST, {"since": "0099-01-01"}).text


def test_preview_and_result_lead_back_to_the_same_list(operator: Client) -> None:
    made = job(customer_id="ACME", status=Status.FAILED)
    query = "customer=ACME&status=failed"
    chosen = {"action": "requeue_selected", "_selected_action": [str(made.pk)], "index": "0"}

    preview = operator.post(f"{LIST}?{query}", chosen)
    text = preview.content.decode()
    assert f'href="{LIST}?customer=ACME&amp;status=failed"' in text
    sent = {"plan": preview.context["form"]["plan"].value(), "reason": "why", "back": query}
    result = operator.post(reverse("admin:jobs_job_operate", args=["requeue"]), sent)
    assert f'href="{LIST}?customer=ACME&amp;status=failed"' in result.content.decode()


def test_way_back_leads_to_the_list_only(operator: Client) -> None:
    sent = {"plan": "x", "reason": "why", "back": '//evil.example/"><b>'}

    text = operator.post(reverse("admin:jobs_job_operate", args=["requeue"]), sent).content.decode()

    assert f'href="{LIST}?%2F%2Fevil.example%2F' in text
