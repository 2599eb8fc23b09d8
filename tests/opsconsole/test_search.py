"""Tests of the search: by job ID, customer, worker, or message ID."""

from __future__ import annotations

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from alerts import notify
from alerts.models import Alert
from alerts.notify import Trouble
from jobs.dead_letters import search_text
from jobs.models import BulkOperation, DeadLetter, FailureGroup, IdempotencyKey, JobEvent, Outbox, Status
from opsconsole import search
from opsconsole.kit import audit
from opsconsole.search import of_work
from tests import people
from tests.factories import DAY, beat, dead_letter, job, letter
from tests.keys import key

SEARCH = reverse("search")
pytestmark = pytest.mark.django_db


@pytest.fixture
def viewer(client: Client) -> Client:
    client.force_login(people.viewer())
    return client


def page_of(job_id: object) -> str:
    return reverse("admin:jobs_job_change", args=[job_id])


@pytest.mark.parametrize("cut", [slice(None), slice(8)])
def test_job_is_found_by_its_id_and_its_beginning(viewer: Client, cut: slice) -> None:
    made = job()
    job()

    assert viewer.get(SEARCH, {"q": f" {str(made.pk)[cut]} "}).headers["Location"] == page_of(made.pk)


def test_customer_has_jobs_and_a_list_of_them_all(viewer: Client) -> None:
    made = [job(customer_id="CUST-7") for _ in range(search.SHOWN + 2)]

    page = viewer.get(SEARCH, {"q": "CUST-7"}).content.decode()

    assert sum(page_of(each.pk) in page for each in made) == search.SHOWN
    assert f"{reverse('admin:jobs_job_changelist')}?q=CUST-7" in page


def test_jobs_stand_there_in_the_words_of_their_pages(viewer: Client) -> None:
    job(customer_id="CUST-7", status=Status.IN_PROGRESS, run_epoch=2)
    job(customer_id="CUST-7", not_before=Now() + DAY)

    page = viewer.get(SEARCH, {"q": "CUST-7"}).text

    assert "CUST-7, In progress, run 2" in page
    assert "CUST-7, Scheduled, run 1" in page


def test_worker_and_a_message_are_found(viewer: Client) -> None:
    made = job()
    beat("worker-7@host")
    letter(made, state=Outbox.State.SENT, message_id="0f3c-b7e")

    to_worker = viewer.get(SEARCH, {"q": "worker-7"}).headers["Location"]
    assert to_worker == "/admin/jobs/workerheartbeat/worker-7_40host/change/"
    assert "worker-7@host" in viewer.get(to_worker).text
    assert viewer.get(SEARCH, {"q": "0f3c-b7e"}).headers["Location"] == page_of(made.pk)


def test_dead_letter_is_found_by_its_message_and_by_its_job(viewer: Client) -> None:
    made = job()
    dead = dead_letter(made, message_id="dead-77")
    page = reverse("admin:jobs_deadletter_change", args=[dead.pk])

    assert viewer.get(SEARCH, {"q": "dead-77"}).headers["Location"] == page
    found = viewer.get(SEARCH, {"q": str(made.pk)}).content.decode()
    assert page in found and f"Dead letter {str(dead.pk)[:8]}" in found and "dead-77" not in found


def test_dead_letter_is_found_by_its_short_id_and_by_words_of_its_error(viewer: Client) -> None:
    dead = dead_letter(job(), message_id="dead-77")
    page = reverse("admin:jobs_deadletter_change", args=[dead.pk])
    assert viewer.get(SEARCH, {"q": str(dead.pk)[:8]}).headers["Location"] == page
    FailureGroup.objects.filter(pk=dead.group_id).update(title="address is missing: {}", kind="job_error")
    group = reverse("admin:jobs_failuregroup_change", args=[dead.group_id])
    assert viewer.get(SEARCH, {"q": "Address is Missing"}).headers["Location"] == group


def test_dead_letter_is_found_by_words_of_its_body(viewer: Client) -> None:
    dead = dead_letter(body='{"order": 4218, "shop": "Zebra Bakery", "street": "Hill Road"}')
    other = dead_letter(body='{"order": 4219, "shop": "Zebra Shoes"}')
    search_text.catch_up()
    page = reverse("admin:jobs_deadletter_change", args=[dead.pk])

    assert viewer.get(SEARCH, {"q": "bakery zebra"}).headers["Location"] == page
    both = viewer.get(SEARCH, {"q": "zebra"}).content.decode()
    assert page in both and str(other.pk) in both and "has these words" in both
    for term in ("zebra flowers", "-zebra nothing", '"bakery', "!", "zebr"):
        assert page not in viewer.get(SEARCH, {"q": term}).content.decode(), term

    # Words that were read under another redaction may say what is hidden now.
    DeadLetter.objects.update(words_of="another")
    assert page not in viewer.get(SEARCH, {"q": "zebra"}).content.decode()


def test_word_of_all_letters_finds_some_and_leads_to_the_others(
    viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_work, "MOST_WITH_WORDS", search.SHOWN + 1)
    for number in range(search.SHOWN + 5):
        dead_letter(body=f'{{"order": {number}, "shop": "zebra"}}')
    search_text.catch_up()

    page = viewer.get(SEARCH, {"q": "zebra"}).content.decode()

    assert page.count("Dead letter ") == search.SHOWN
    assert "?q=zebra&amp;state=all" in page


def test_words_that_must_not_be_shown_are_not_searched(viewer: Client) -> None:
    dead = dead_letter(job())
    FailureGroup.objects.filter(pk=dead.group_id).update(
        title="secret of acme", kind="given_reason", title_of="an earlier redaction"
    )
    assert "secret of acme" not in viewer.get(SEARCH, {"q": "secret of"}).content.decode()


def test_job_is_found_by_the_key_of_its_request(viewer: Client) -> None:
    made, (api_key, _) = job(), key()
    for caller in (f"api-key:{api_key.pk}", "user:1"):
        IdempotencyKey.objects.create(
            caller=caller, key="order-4711", request="x", answer={"id": str(made.pk)}
        )
    assert viewer.get(SEARCH, {"q": "order-4711"}).headers["Location"] == page_of(made.pk)


def test_job_is_found_by_the_reference_of_a_note(viewer: Client) -> None:
    noted = job(status=Status.FAILED)
    for reference in ("listing-4218-1-1", "listing-4218-1-2", "LISTING_4218%"):
        JobEvent.objects.create(
            job=noted,
            kind="progress",
            run_epoch=1,
            actor="worker:w",
            details={"note": "sent", "reference": reference},
        )
    # What is no text is no reference.
    JobEvent.objects.create(
        job=noted, kind="progress", run_epoch=1, actor="worker:w", details=["listing-4218"]
    )
    page = reverse("admin:jobs_job_change", args=[noted.pk])
    for term in ("listing-4218-1-2", "listing-4218", "LISTING_4218%"):
        assert viewer.get(SEARCH, {"q": term})["Location"] == page
    assert b"Nothing was found" in viewer.get(SEARCH, {"q": "listing_4218"}).content


def test_client_is_found_by_its_address(viewer: Client) -> None:
    page = viewer.get(SEARCH, {"q": "203.0.113.7"})

    review = reverse("admin:ratelimits_ratelimithour_client")
    assert page.headers["Location"] == f"{review}?key=address%3A203.0.113.7"


def test_open_alert_is_found_by_its_fingerprint_and_words(viewer: Client) -> None:
    notify.fire("dlq_not_empty:slow", Trouble(title="3 dead letters (slow)", severity="critical"))
    page = reverse("admin:alerts_alert_change", args=[Alert.objects.get().pk])

    assert viewer.get(SEARCH, {"q": "dlq_not_empty"}).headers["Location"] == page
    assert viewer.get(SEARCH, {"q": "dead letters"}).headers["Location"] == page


def test_search_result_includes_past_actions(viewer: Client) -> None:
    made = job()
    audit.log(people.operator(), [made], "Requeued.", why="<script>")

    page = viewer.get(SEARCH, {"q": str(made.pk)}).content.decode()

    assert "Requeued." in page and "by olga" in page


@pytest.mark.parametrize("term", ["", " ", "x", "<script>alert(1)</script>", "ü" * 600, "%", "'; DROP"])
def test_unusual_terms_find_nothing_and_raise_no_error(viewer: Client, term: str) -> None:
    job()

    response = viewer.get(SEARCH, {"q": term})

    assert response.status_code == 200
    assert "<script>alert" not in response.content.decode()


def test_search_respects_permissions(client: Client) -> None:
    made = job()
    nobody = people.viewer()
    nobody.user_permissions.clear()
    client.force_login(nobody)

    assert page_of(made.pk) not in client.get(SEARCH, {"q": str(made.pk)}).content.decode()
    assert search.search(str(made.pk), nobody) == []


def test_operation_is_told_in_words(client: Client) -> None:
    state = BulkOperation.State.STOPPED
    made = BulkOperation.objects.create(
        action="requeue", scope="x", actor="operator:ada", state=state, will=1
    )

    [hit] = [
        hit for group in search.search(f"bulk operation {made.pk}", people.viewer()) for hit in group.hits
    ]
    assert hit.about == "Requeue 1 job, stopped automatically"


@pytest.mark.parametrize("state", BulkOperation.UNCONFIRMED)
def test_preview_is_found_by_its_maker_alone(client: Client, state: str) -> None:
    mine, theirs = people.viewer(), people.viewer("other")
    operation = BulkOperation.objects.create(
        action="requeue", scope="x", actor=f"operator:{mine.username}", state=state
    )

    term = f"bulk operation {operation.pk}"
    assert [hit.title for group in search.search(term, mine) for hit in group.hits] == [
        f"Bulk operation #{operation.pk}"
    ]
    assert search.search(term, theirs) == []


def test_anonymous_users_are_redirected_to_login(client: Client) -> None:
    assert client.get(SEARCH, {"q": "x"}).headers["Location"].startswith(reverse("admin:login"))


def test_words_of_errors_and_numbers_that_pages_show(viewer: Client) -> None:
    failed = job(status=Status.FAILED, error_message="TypeError: the address is missing")
    job(error_message="the address is missing, of a job that runs again")
    given_up = job(status=Status.QUARANTINED, error_message="MemoryError: the picture is too large")
    operation = BulkOperation.objects.create(
        action="requeue_jobs", scope="x", actor="operator:ada", state="ended"
    )
    group = dead_letter().group

    assert viewer.get(SEARCH, {"q": "ADDRESS is"})["Location"] == reverse(
        "admin:jobs_job_change", args=[failed.pk]
    )
    place = reverse("admin:jobs_job_change", args=[given_up.pk])
    assert viewer.get(SEARCH, {"q": "picture is"})["Location"] == place
    page = reverse("admin:jobs_bulkoperation_change", args=[operation.pk])
    assert page in _places(viewer, f"#{operation.pk}")
    assert reverse("admin:jobs_failuregroup_change", args=[group.pk]) in _places(viewer, f"group {group.pk}")
    assert viewer.get(SEARCH, {"q": "#99999999999999999999"}).status_code == 200


def _places(client: Client, term: str) -> str:
    answer = client.get(SEARCH, {"q": term})
    return str(answer.headers.get("Location") or answer.content.decode())
