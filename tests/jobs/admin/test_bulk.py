"""Tests of the pages of bulk operations: permissions, wording, and the same filters as the list."""

from __future__ import annotations

import csv
import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import OperationalError
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from psycopg.errors import QueryCanceled

from jobs.admin.bulk import followed_members, operation_page
from jobs.bulk import freezing
from jobs.models import BulkEvent, BulkMember, BulkOperation, Job, JobEvent, Status
from jobs.operations.steps import JobAction
from jobs.runs.timeline import Actor
from opsconsole.kit import audit, exports
from tests import people
from tests.factories import job, run
from tests.jobs.bulk import helpers
from tests.jobs.bulk.helpers import REASON, chunk, finish, fresh, many
from tests.page_costs import fewest_statements
from tests.sending import send, versions_on

pytestmark = pytest.mark.django_db

LIST = reverse("admin:jobs_job_changelist")
OPERATIONS = reverse("admin:jobs_bulkoperation_changelist")
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _small(settings: Any) -> None:
    settings.OPSCONSOLE_BULK_AT_ONCE = 2
    settings.OPSCONSOLE_BULK_PACE = 4
    settings.OPSCONSOLE_BULK_TRIAL_SIZE = 0


def page(operation: BulkOperation) -> str:
    return reverse("admin:jobs_bulkoperation_change", args=[operation.pk])


def decide(operation: BulkOperation, decision: str) -> str:
    return reverse("admin:jobs_bulkoperation_decide", args=[operation.pk, decision])


def decided(client: Client, operation: BulkOperation, decision: str, entries: dict[str, Any]) -> Any:
    return send(client, decide(operation, decision), entries, page=page(operation))


def progress(operation: BulkOperation) -> str:
    return reverse("admin:jobs_bulkoperation_progress", args=[operation.pk])


def export(operation: BulkOperation, form: str = "csv") -> str:
    return reverse("admin:jobs_bulkoperation_export", args=[operation.pk, form])


def choose_all(client: Client, query: str = "", action: str = "requeue_selected") -> Any:
    some = Job.objects.values_list("pk", flat=True).first()
    chosen = {"action": action, "index": "0", "select_across": "1", "_selected_action": [str(some)]}
    return client.post(f"{LIST}{query}", chosen)


def of(user: User | None = None) -> Actor:
    user = user or User.objects.get(username="olga")
    return Actor.operator(user.username, user.pk)


def begun(jobs: Any = None, action: str = "requeue") -> BulkOperation:
    return helpers.begun(jobs, action, of())


def preview(jobs: Any = None, action: str = "requeue") -> BulkOperation:
    return helpers.preview(jobs, action, of())


@pytest.mark.parametrize(
    ("query", "scope"),
    [
        ("", "all rows of the list"),
        ("?status=failed", "status: Failed"),
        ("?q=ACME", "search: ACME"),
        ("?status=failed&priority=gold", "status: Failed, priority: gold"),
        ("?stale=any", "stale now: Any reason"),
        ("?age=older&queue=slow", "age: Older than 7 days, queue: slow"),
    ],
)
def test_select_all_matches_filtered_list(operator: Client, query: str, scope: str) -> None:
    old = Now() - timedelta(days=9)
    many(3)
    many(3, customer_id="ACME", priority_level="gold", created_at=old, queue="slow")
    many(3, status=Status.COMPLETED)
    for number in range(3):
        run(age=2 * HOUR, silent=HOUR, worker=f"dead-{number}")
    shown = {str(row.pk) for row in operator.get(f"{LIST}{query}").context["cl"].result_list}
    assert len(shown) > 2

    response = choose_all(operator, query)

    operation = BulkOperation.objects.get()
    assert response.headers["Location"] == page(operation)
    assert set(operation.members.values_list("subject", flat=True)) == shown
    assert (operation.scope, operation.query) == (scope, query.removeprefix("?"))


def test_slow_filter_is_reported_and_stores_nothing(operator: Client, monkeypatch: Any) -> None:
    many(3)

    def slow(*_: Any, **__: Any) -> Any:
        raise OperationalError("canceling statement due to statement timeout") from QueryCanceled()

    monkeypatch.setattr(freezing, "freeze", slow)
    response = choose_all(operator)
    assert response.status_code == 302
    assert "Narrow the filters" in operator.get(LIST).content.decode()
    assert not BulkOperation.objects.exists()


def test_preview_says_how_many_and_why_and_asks_for_the_number(operator: Client) -> None:
    many(3, customer_id="ACME")
    many(2, status=Status.COMPLETED)

    text = operator.get(page(preview())).content.decode()

    for said in (
        "Requeue 3 of 5 jobs?",
        "Will be requeued: 3",
        "Will be skipped: 2",
        "It is completed: nothing to do.",
        "Will wait for run 2",
        "Type 3 to confirm",
        "ACME",
    ):
        assert said in text, said
    assert set(Job.objects.values_list("status", flat=True)) == {"failed", "completed"}


@pytest.mark.parametrize(("size", "announced"), [(2, True), (3, False), (0, False)])
def test_preview_announces_the_trial(operator: Client, settings: Any, size: int, announced: bool) -> None:
    settings.OPSCONSOLE_BULK_TRIAL_SIZE = size
    many(3)
    text = operator.get(page(preview())).content.decode()
    said = "The first 2 are sent ahead; the rest waits for up to 1 min to see whether they fail again"
    assert (said in text) is announced and ("beside the trial" in text) is announced


def test_preview_reports_cap(operator: Client, settings: Any) -> None:
    settings.OPSCONSOLE_BULK_MOST = 3
    many(4)
    assert "More than 3 match. These are the oldest 3." in operator.get(page(preview())).content.decode()


def test_preview_without_eligible_members_offers_no_action(operator: Client) -> None:
    many(3, status=Status.COMPLETED)
    text = operator.get(page(preview())).content.decode()
    assert "None of these jobs can be requeued." in text and "Type" not in text
    assert "<h1>Requeue: nothing to do</h1>" in text


def test_expired_preview_offers_no_action(operator: Client) -> None:
    many(3)
    operation = preview()
    BulkOperation.objects.update(created_at=Now() - HOUR)
    text = operator.get(page(operation)).content.decode()
    assert "older than an hour" in text and "/begin/" not in text
    decided(operator, operation, "begin", {"reason": REASON, "typed": "3"})
    assert fresh(operation).state == "preview"


def test_preview_of_another_user_is_refused(operator: Client) -> None:
    many(3)
    operation = preview()
    operator.force_login(people.operator("oskar"))
    assert operator.get(page(operation)).status_code == 403
    assert decided(operator, operation, "begin", {"reason": REASON, "typed": "3"}).status_code == 403
    assert fresh(operation).state == "preview"


def test_begin_watch_and_finish(operator: Client) -> None:
    many(9)
    operation = preview()

    response = decided(operator, operation, "begin", {"reason": REASON, "typed": "9"})

    assert response.headers["Location"] == page(operation)
    entry = LogEntry.objects.get(object_id=str(operation.pk))
    assert audit.who(entry) == "olga"
    assert audit.parts_of(entry) == audit.AuditParts("Begun: 0 done, 0 skipped, 0 failed, 9 left.", REASON)
    chunk(operation)
    text = operator.get(page(operation)).content.decode()
    assert "5 jobs left: about 1 s at 4 per second." in text and 'value="4" max="9"' in text
    assert progress(operation) in text and "/cancel/" in text
    fragment = operator.get(progress(operation))
    assert 'value="4" max="9"' in fragment.content.decode() and "<html" not in fragment.content.decode()
    assert fragment.headers["Cache-Control"] == "no-store"
    finish(operation)
    assert operator.get(progress(operation)).status_code == 205
    text = operator.get(page(operation)).content.decode()
    assert "9 jobs requeued." in text and progress(operation) not in text and "/cancel/" not in text
    assert JobEvent.objects.filter(actor="operator:olga", reason=REASON).count() == 9


@pytest.mark.parametrize(("field", "value"), [("typed", "8"), ("reason", "  "), ("reason", "x" * 501)])
def test_wrong_confirmation_is_rejected_with_error(operator: Client, field: str, value: str) -> None:
    many(9)
    operation = preview()
    response = decided(operator, operation, "begin", {"reason": REASON, "typed": "9"} | {field: value})
    assert response.status_code == 200
    assert response.context["form"].errors[field]
    assert fresh(operation).state == "preview"
    assert not LogEntry.objects.exists()


def test_cancel_and_resume_with_reasons(operator: Client) -> None:
    many(9)
    operation = begun()
    chunk(operation)
    decided(operator, operation, "cancel", {"reason": "wrong customer"})
    text = operator.get(page(operation)).content.decode()
    assert "Stopped by olga: wrong customer" in text and "5 jobs are still untouched" in text
    assert operator.get(progress(operation)).status_code == 205
    decided(operator, operation, "resume", {"reason": "it was right"})
    assert fresh(operation).state == "running"
    finish(operation)
    assert list(BulkEvent.objects.values_list("kind", flat=True)) == [
        "begun",
        "cancelled",
        "resumed",
        "ended",
    ]
    assert [audit.parts_of(line) for line in LogEntry.objects.order_by("pk")] == [
        audit.AuditParts("Stopped: 4 done, 0 skipped, 0 failed, 5 left.", "wrong customer"),
        audit.AuditParts("Resumed: 4 done, 0 skipped, 0 failed, 5 left.", "it was right"),
    ]


def test_older_form_is_refused_after_a_cancel_and_a_resume(operator: Client) -> None:
    many(9)
    operation = begun()
    chunk(operation)
    older = {"reason": "wrong customer"} | versions_on(operator.get(page(operation)))
    for decision in ("cancel", "resume"):
        decided(operator, operation, decision, {"reason": "x"})

    refused = operator.post(decide(operation, "cancel"), older)

    assert refused.status_code == 409 and "olga changed this" in refused.content.decode()
    assert fresh(operation).state == "running"


def test_late_decision_is_reported(operator: Client) -> None:
    many(3)
    operation = begun()
    entries = {"reason": "stop"} | versions_on(operator.get(page(operation)))
    finish(operation)
    response = operator.post(decide(operation, "cancel"), entries)
    assert response.status_code == 409
    shown = response.context["form"].conflict.differences
    assert [(each.name, each.was, each.now) for each in shown] == [("state", "running", "ended")]
    assert not LogEntry.objects.exists()


def test_reasons_for_skipped_members_are_counted(operator: Client) -> None:
    jobs = many(4)
    many(2, status=Status.COMPLETED)
    operation = begun()
    Job.objects.filter(pk__in=[each.pk for each in jobs[:3]]).update(status=Status.CANCELLED)
    finish(operation)
    response = operator.get(page(operation))
    assert response.context["why"] == [
        ("It changed in the meantime: now cancelled, run 1.", 3),
        ("It is completed: nothing to do.", 2),
    ]
    assert "1 job requeued, 5 skipped." in response.content.decode()


def test_members_by_outcome_page_by_page(operator: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(operation_page, "MEMBERS_A_PAGE", 3)
    done = many(4)
    many(5, status=Status.COMPLETED)
    operation = finish(begun())
    seen: list[str] = []
    query = {"outcome": "done"}
    while True:
        response = operator.get(page(operation), query)
        seen += [line.member.subject for line in response.context["members"]]
        if not response.context["after"]:
            break
        query["after"] = response.context["after"]
    assert seen == [str(each.pk) for each in done]
    everything = operator.get(page(operation)).context["members"]
    assert len(everything) == 3
    assert len(operator.get(page(operation), {"outcome": "nonsense", "after": "x"}).context["members"]) == 3


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED])
def test_those_that_failed_again_are_asked_for_where_there_are_some(operator: Client, status: Status) -> None:
    made = many(3)
    operation = finish(begun())
    Job.objects.all().update(status=Status.COMPLETED)
    Job.objects.filter(pk=made[0].pk).update(status=status)

    asked = fewest_statements(operator, page(operation))

    failed = [each for each in asked if f"'{Status.FAILED}', '{Status.QUARANTINED}'" in each]
    assert bool(failed) == (status == Status.FAILED), asked
    named = [line.member.subject for line in operator.get(page(operation)).context["failed_again"]]
    assert named == ([str(made[0].pk)] if failed else [])


@pytest.mark.parametrize(
    ("failed", "completed", "tone", "told"),
    [
        (3, 0, "bad", "It did not help: all 3 failed again."),
        (2, 1, "bad", "It helped for 1 of 3: 2 failed again or could not be sent."),
        (1, 2, "warning", "It helped for 2 of 3: 1 failed again or could not be sent."),
        (0, 3, "good", "It helped: all 3 have completed."),
        (0, 0, "quiet", "Not known yet: 3 of 3 still waiting or running."),
    ],
)
def test_tone_of_an_ended_operation_follows_what_became_of_its_members(
    operator: Client, failed: int, completed: int, tone: str, told: str
) -> None:
    made = [each.pk for each in many(3)]
    operation = finish(begun())
    Job.objects.filter(pk__in=made[:failed]).update(status=Status.FAILED)
    Job.objects.filter(pk__in=made[failed : failed + completed]).update(status=Status.COMPLETED)

    text = operator.get(page(operation)).content.decode()

    assert f'class="verdict verdict-{tone}"' in text and f'<p class="quiet">{told}</p>' in text
    assert "badge-good" not in text[text.index('class="verdict') : text.index('<dl class="figures">')]
    listed = operator.get(OPERATIONS).content.decode()
    words = {"bad": failed, "good": completed, "running": 3 - failed - completed}
    for each, count in words.items():
        assert (f"badge-{each}" in listed and f">{count} " in listed) == bool(count), (each, count)


def test_tone_tells_nothing_of_jobs_to_those_who_may_not_see_them(client: Client) -> None:
    people.operator()
    many(3)
    operation = finish(begun())
    Job.objects.all().update(status=Status.FAILED)
    viewer = people.viewer()
    viewer.groups.clear()
    viewer.user_permissions.set(Permission.objects.filter(codename="view_bulkoperation"))
    client.force_login(viewer)
    assert 'class="verdict verdict-quiet"' in client.get(page(operation)).content.decode()
    assert "failed again" not in client.get(OPERATIONS).content.decode()


def test_list_asks_the_same_for_many_operations(operator: Client) -> None:
    many(2)
    finish(begun())
    one = fewest_statements(operator, OPERATIONS)
    Job.objects.all().update(status=Status.FAILED)
    for _ in range(3):
        finish(begun())
        Job.objects.all().update(status=Status.FAILED)
    assert len(fewest_statements(operator, OPERATIONS)) == len(one)


def test_later_page_costs_as_many_queries_as_the_first(operator: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(operation_page, "MEMBERS_A_PAGE", 3)
    many(9)
    operation = begun()
    counts = [
        len(fewest_statements(operator, page(operation), query))
        for query in ({}, {"after": str(operation.members.order_by("id")[5].pk)})
    ]
    assert counts[0] == counts[1] <= 14


def test_export_has_every_member_and_can_not_run_a_formula(operator: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(exports, "PAGE", 2)
    many(3)
    many(1, status="=cmd()")
    operation = finish(begun())
    response = operator.get(export(operation))
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert f'filename="bulk-{operation.pk}-requeue-' in response.headers["Content-Disposition"]
    rows = list(csv.DictReader(response.getvalue().decode().splitlines()))
    members = operation.members.order_by("-id").values_list("subject", "outcome", "sentence")
    assert [(row["subject"], row["outcome"], row["sentence"]) for row in rows] == list(members)
    assert {row["seen_status"] for row in rows} == {"failed", "'=cmd()"}
    assert all(row["settled_at"] for row in rows)
    as_json = json.loads(operator.get(export(operation, "json")).getvalue())
    assert [row["subject"] for row in as_json] == [row["subject"] for row in rows]
    assert operator.get(export(operation, "xml")).status_code == 404


def test_list_shows_operations_and_no_previews(operator: Client) -> None:
    many(3)
    preview()
    operation = begun()
    response = operator.get(OPERATIONS)
    assert list(response.context["cl"].result_list) == [operation]
    text = response.content.decode()
    assert f"#{operation.pk} Requeue 3 jobs" in text and REASON in text
    assert list(operator.get(OPERATIONS, {"state": "ended"}).context["cl"].result_list) == []


def test_operation_of_unknown_kind_raises_no_error(operator: Client) -> None:
    many(3)
    operation = begun()
    BulkOperation.objects.update(action="teleport")
    assert operator.get(OPERATIONS).status_code == 200
    response = operator.get(page(operation), follow=True)
    assert "does not know the bulk operation" in response.content.decode()


@pytest.mark.parametrize("number", ["0", "nonsense", "9" * 30])
def test_missing_operation_redirects_to_list(operator: Client, number: str) -> None:
    response = operator.get(reverse("admin:jobs_bulkoperation_change", args=[number]), follow=True)
    assert "There is no bulk operation with this number." in response.content.decode()


def test_fragment_answers_401_after_session_ended(client: Client) -> None:
    people.operator()
    many(3)
    operation = begun()
    response = client.get(progress(operation))
    assert (response.status_code, response.content) == (401, b"")
    for url in (page(operation), export(operation), decide(operation, "cancel")):
        assert client.get(url).headers["Location"].startswith(reverse("admin:login"))


def test_viewer_can_read_but_not_act(client: Client) -> None:
    people.operator()
    many(9)
    operation, unconfirmed = begun(), preview()
    client.force_login(people.viewer())
    for url in (OPERATIONS, page(operation), progress(operation), export(operation)):
        assert client.get(url).status_code == 200
    told = LogEntry.objects.count()
    assert "/cancel/" not in client.get(page(operation)).content.decode()
    for decision in ("begin", "cancel", "resume"):
        for each in (operation, unconfirmed):
            sent = {"reason": REASON, "typed": "9"}
            assert client.post(decide(each, decision), sent).status_code == 403
    assert client.get(page(unconfirmed)).status_code == 403
    choose_all(client)
    assert BulkOperation.objects.count() == 2
    assert (fresh(operation).state, fresh(unconfirmed).state) == ("running", "preview")
    # The audit counts refusals first, and tells of nothing else.
    assert LogEntry.objects.count() == told


@pytest.mark.parametrize("granted", list(JobAction))
def test_one_permission_opens_one_action(client: Client, granted: str) -> None:
    user = people.allowed(f"{granted}_job")
    client.force_login(user)
    statuses = {"requeue": Status.FAILED, "cancel": Status.PENDING, "release": Status.QUARANTINED}
    for action in JobAction:
        many(3, status=statuses[action])
        operation = helpers.preview(Job.objects.filter(status=statuses[action]), action, of(user))
        entries = {"reason": REASON, "typed": str(operation.will)}
        response = decided(client, operation, "begin", entries)
        assert response.status_code == (302 if action == granted else 403)
        BulkOperation.objects.filter(pk=operation.pk).update(state="running")
        for decision in ("cancel", "resume"):
            response = decided(client, operation, decision, {"reason": REASON})
            assert response.status_code == (302 if action == granted else 403)


def test_bulk_operation_requires_view_permission(client: Client) -> None:
    user = people.allowed("requeue_job")
    user.user_permissions.remove(*user.user_permissions.filter(codename="view_bulkoperation"))
    client.force_login(user)
    many(3)
    assert choose_all(client).status_code == 403
    assert client.get(OPERATIONS).status_code == 403
    assert not BulkOperation.objects.exists()


@pytest.mark.parametrize("decision", ["begin", "cancel", "resume"])
def test_decisions_are_posts_with_a_token(decision: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(people.operator())
    many(3)
    operation = begun()
    assert client.get(decide(operation, decision)).status_code == 405
    assert client.post(decide(operation, decision), {"reason": REASON}).status_code == 403
    assert fresh(operation).state == "running"


def test_unknown_decision_is_not_found(operator: Client) -> None:
    many(3)
    operation = begun()
    assert decided(operator, operation, "delete", {"reason": REASON}).status_code == 404
    assert operator.post(page(operation), {"reason": REASON}).status_code == 405


def test_external_text_is_escaped(operator: Client) -> None:
    evil = "<script>alert(1)</script>"
    many(3, customer_id=evil)
    job(status=evil)
    operation = preview()
    assert evil not in operator.get(page(operation)).content.decode()
    decided(operator, operation, "begin", {"reason": evil, "typed": "3"})
    finish(operation)
    for url in (page(operation), OPERATIONS):
        assert evil not in operator.get(url).content.decode()


def test_pruned_members_are_reported(operator: Client) -> None:
    many(3)
    operation = finish(begun())
    BulkMember.objects.all().delete()
    assert "Its counts are kept" in operator.get(page(operation)).content.decode()


def test_preview_shows_expected_duration(operator: Client, settings: Any) -> None:
    settings.OPSCONSOLE_BULK_PACE = 1
    many(90)
    assert "about 1 min 30 s" in operator.get(page(preview())).content.decode()


def test_results_of_a_large_operation_are_those_of_an_even_sample(operator: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(followed_members, "MOST_FOLLOWED", 19)
    monkeypatch.setattr(followed_members, "SAMPLE_FOLLOWED", 5)
    jobs = many(20)
    operation = finish(helpers.begun())
    Job.objects.filter(pk__in=[each.pk for each in jobs[10:]]).update(status=Status.FAILED)
    address = reverse("admin:jobs_bulkoperation_change", args=[operation.pk])
    context = operator.get(address).context
    results = {result.label: count for result, count in context["results"]}
    assert results == {"Still waiting or running": 3, "Failed again": 2}
    assert len(context["failed_again"]) == 2
    page = " ".join(operator.get(address).content.decode().split())
    told = (
        "Read of a sample: members spread evenly over the 20 that were requeued.",
        "In the sample: Not known yet",
    )
    assert [page.count(each) for each in told] == [1, 2], "the second one above, too, beside what was done"


@pytest.mark.parametrize(
    "done",
    [
        [*range(10), 199],
        [*range(0, 200, 18)],
        [*range(90, 102)],
    ],
    ids=["far apart", "between others", "together"],
)
def test_sample_is_as_large_wherever_the_members_stand_that_were_done(
    monkeypatch: pytest.MonkeyPatch, done: list[int]
) -> None:
    monkeypatch.setattr(followed_members, "MOST_FOLLOWED", 9)
    monkeypatch.setattr(followed_members, "SAMPLE_FOLLOWED", 5)
    jobs = many(200)
    operation = helpers.begun()
    subjects = [str(jobs[place].pk) for place in done]
    operation.members.exclude(subject__in=subjects).update(outcome="skipped")
    operation.members.filter(subject__in=subjects).update(outcome="done")
    operation.done = len(done)
    sample = set(followed_members.of(operation).values_list("subject", flat=True))
    assert 4 <= len(sample) <= 7 and sample <= set(subjects)
    assert subjects[0] in sample


def test_members_of_all_outcomes_come_in_the_order_of_the_preview(operator: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(operation_page, "MEMBERS_A_PAGE", 4)
    jobs = many(6)
    Job.objects.filter(pk__in=[jobs[1].pk, jobs[3].pk]).update(status=Status.COMPLETED)
    operation = helpers.begun()
    operation.members.filter(subject=str(jobs[4].pk)).update(outcome="failed")
    address = reverse("admin:jobs_bulkoperation_change", args=[operation.pk])
    first = operator.get(address).context
    rest = operator.get(address, {"after": first["after"]}).context
    shown = [line.member.subject for line in [*first["members"], *rest["members"]]]
    assert (shown, rest["after"]) == ([str(each.pk) for each in jobs], "")
