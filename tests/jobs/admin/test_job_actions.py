"""Tests of job actions: permitted users carry out exactly what was previewed, once, with a reason."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core import signing
from django.test import Client
from django.urls import reverse

from jobs.admin.jobs import job_actions
from jobs.models import BulkOperation, Job, JobEvent, Outbox, Status
from jobs.operations import previews
from jobs.operations.steps import JobAction
from opsconsole.kit import audit
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Run
from tests import people
from tests.factories import SECOND, beat, job, run
from tests.page_costs import fewest_asked

pytestmark = pytest.mark.django_db

LIST = reverse("admin:jobs_job_changelist")
HOUR = timedelta(hours=1)
REASON = "the customer called"


def url(action: str) -> str:
    return reverse("admin:jobs_job_operate", args=[action])


def preview(client: Client, action: str, *jobs: Job) -> Any:
    return client.get(url(action), {"id": [str(made.pk) for made in jobs]})


def plan_of(response: Any) -> str:
    plan: str = response.context["form"].initial["plan"]
    return plan


def carry_out(client: Client, action: str, *jobs: Job) -> Any:
    plan = plan_of(preview(client, action, *jobs))
    return client.post(url(action), {"plan": plan, "reason": REASON})


def state(made: Job) -> tuple[str, int]:
    made.refresh_from_db()
    return made.status, made.run_epoch


def stale_run() -> Job:
    return run(age=2 * HOUR, silent=HOUR)


def ids(lines: Iterable[job_actions.JobLine]) -> list[Any]:
    return [line.job.pk for line in lines]


def test_preview_shows_effect_and_changes_nothing(operator: Client) -> None:
    stale, waiting = stale_run(), job()

    response = preview(operator, "requeue", stale, waiting)

    assert ids(response.context["will"]) == [stale.pk]
    assert ids(response.context["skipped"]) == [waiting.pk]
    assert response.context["title"] == "Requeue 1 of 2 jobs?"
    assert preview(operator, "requeue", stale).context["title"] == "Requeue 1 job?"
    assert "Will wait for run 2" in response.content.decode()
    assert (state(stale), state(waiting)) == (("in_progress", 1), ("pending", 1))
    assert not JobEvent.objects.exists()


def test_preview_shows_progress_of_the_dead_run(operator: Client) -> None:
    stale = stale_run()
    lifecycle.note(Run(stale.pk, 1, Worker("worker-1", "h", 1)), "submitted to maps", reference="maps/77")

    page = preview(operator, "requeue", stale).content.decode()

    told = page.partition("Run 1 had done:")[2]
    assert "submitted to maps" in told
    assert "maps/77" in told


def test_preview_shows_progress_of_all_earlier_runs(operator: Client) -> None:
    """Show the notes of each run; a job with many notes does not displace those of other jobs."""
    failed, talkative = (job(status=Status.FAILED, run_epoch=2) for _ in range(2))
    for epoch, note in ((1, "submitted to old"), (2, "submitted to maps")):
        lifecycle.note(Run(failed.pk, epoch, Worker("w", "h", 1)), note)
    for number in range(job_actions.NOTES_SHOWN + 2):
        lifecycle.note(Run(talkative.pk, 2, Worker("w", "h", 1)), f"step {number}")

    assert len(fewest_asked(lambda: preview(operator, "requeue", failed, talkative))) <= 12
    response = preview(operator, "requeue", failed, talkative)

    first, second = response.context["will"]
    assert [(done.run, [note.details["note"] for note in done.notes]) for done in first.done_before] == [
        (2, ["submitted to maps"]),
        (1, ["submitted to old"]),
    ]
    assert [(done.hidden, len(done.notes)) for done in second.done_before] == [(2, job_actions.NOTES_SHOWN)]
    page = response.content.decode()
    assert page.index("Run 2 had done:") < page.index("submitted to maps") < page.index("Run 1 had done:")
    assert "2 earlier notes" in page


@pytest.mark.parametrize(
    ("action", "before", "after", "event"),
    [
        ("requeue", Status.FAILED, ("pending", 2), "requeued"),
        ("cancel", Status.PENDING, ("cancelled", 1), "cancelled"),
        ("release", Status.QUARANTINED, ("pending", 2), "released"),
    ],
)
def test_action_records_reason_and_user(
    operator: Client, action: str, before: Status, after: tuple[str, int], event: str
) -> None:
    made = job(status=before)

    response = carry_out(operator, action, made)

    assert response.status_code == 200
    assert ids(response.context["done"]) == [made.pk]
    # What became of the job stands above and changes: a status beside it would contradict it.
    done = response.content.decode().partition('id="done-heading"')[2]
    assert 'data-label="What was done"' in done and 'data-label="Status"' not in done
    assert state(made) == after
    written = JobEvent.objects.get(job=made, kind=event)
    assert (written.actor, written.reason) == ("operator:olga", REASON)
    assert REASON in audit.parts_of(LogEntry.objects.get(object_id=str(made.pk))).why


def test_selection_of_the_list_leads_to_the_preview(operator: Client) -> None:
    chosen, other = job(), job()

    response = _select(operator, "cancel_selected", [chosen])

    assert ids(response.context["will"]) == [chosen.pk]
    assert state(chosen) == state(other) == ("pending", 1)


def _select(client: Client, action: str, jobs: Iterable[Job], **more: str) -> Any:
    chosen = [str(made.pk) for made in jobs]
    return client.post(LIST, {"action": action, "index": "0", "_selected_action": chosen} | more)


@pytest.mark.parametrize("action", ["requeue_selected", "cancel_selected", "release_selected"])
def test_each_action_of_the_list_previews_its_own_operation(operator: Client, action: str) -> None:
    response = _select(operator, action, [job()])

    assert f"/operate/{action.removesuffix('_selected')}/" in response.content.decode() or (
        "None of these jobs can be" in response.content.decode()
    )
    assert response.context["action"] == action.removesuffix("_selected")


def test_selection_up_to_limit_is_previewed_row_by_row(operator: Client, settings: Any) -> None:
    settings.OPSCONSOLE_BULK_AT_ONCE = 3
    jobs = [job() for _ in range(3)]

    response = _select(operator, "cancel_selected", jobs[:1], select_across="1")

    assert len(response.context["will"]) == 3
    assert not BulkOperation.objects.exists()


def test_selection_above_limit_becomes_bulk_operation(operator: Client, settings: Any) -> None:
    settings.OPSCONSOLE_BULK_AT_ONCE = 3
    jobs = [job() for _ in range(4)]

    response = _select(operator, "cancel_selected", jobs)

    operation = BulkOperation.objects.get()
    assert response.headers["Location"] == reverse("admin:jobs_bulkoperation_change", args=[operation.pk])
    assert (operation.action, operation.state, operation.total) == ("cancel", "preview", 4)
    assert {state(made) for made in jobs} == {("pending", 1)}


def test_too_many_ids_in_url_are_not_found(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_actions, "MOST_JOBS", 2)
    jobs = [job() for _ in range(3)]

    assert preview(operator, "cancel", *jobs[:2]).status_code == 200
    assert preview(operator, "cancel", *jobs).status_code == 404


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501])
def test_action_requires_valid_reason(operator: Client, reason: str) -> None:
    made = job()
    plan = plan_of(preview(operator, "cancel", made))

    response = operator.post(url("cancel"), {"plan": plan, "reason": reason})

    assert response.context["form"].errors["reason"]
    assert ids(response.context["will"]) == [made.pk], "the preview is still there"
    assert plan in response.content.decode()
    assert state(made) == ("pending", 1)


def test_job_changed_since_preview_is_skipped(operator: Client) -> None:
    taken, free = job(), job()
    plan = plan_of(preview(operator, "cancel", taken, free))
    Job.objects.filter(pk=taken.pk).update(status=Status.COMPLETED)

    response = operator.post(url("cancel"), {"plan": plan, "reason": REASON})

    assert ids(response.context["done"]) == [free.pk]
    assert ids(response.context["skipped"]) == [taken.pk]
    assert "It changed in the meantime: now completed" in response.content.decode()


def test_worker_that_beats_after_the_preview_keeps_its_run(operator: Client) -> None:
    stale = stale_run()
    plan = plan_of(preview(operator, "requeue", stale))
    beat("worker-1", stale.pk, 1)

    response = operator.post(url("requeue"), {"plan": plan, "reason": REASON})

    assert ids(response.context["skipped"]) == [stale.pk]
    assert state(stale) == ("in_progress", 1)


def test_form_submitted_twice_acts_once(operator: Client) -> None:
    made = job(status=Status.FAILED)
    sent = {"plan": plan_of(preview(operator, "requeue", made)), "reason": REASON}

    first = operator.post(url("requeue"), sent)
    second = operator.post(url("requeue"), sent)

    assert state(made) == ("pending", 2)
    assert Outbox.objects.filter(job=made).count() == 1
    assert JobEvent.objects.filter(job=made, kind="requeued").count() == 1
    # The page that is loaded again says what was done, and not that nothing was.
    assert ids(second.context["done"]) == [made.pk]
    assert second.context["title"] == first.context["title"] == "1 job requeued"
    assert "Did it help?" in second.content.decode()
    assert audit.changes().filter(object_id=str(made.pk)).count() == 1


def test_what_was_done_by_an_earlier_form_is_not_said_to_be_done_by_this_one(operator: Client) -> None:
    made = job(status=Status.FAILED)
    carry_out(operator, "requeue", made)
    Job.objects.filter(pk=made.pk).update(status=Status.FAILED)
    sent = {"plan": plan_of(preview(operator, "requeue", made)), "reason": REASON}
    Job.objects.filter(pk=made.pk).update(status=Status.COMPLETED)

    page = operator.post(url("requeue"), sent)

    assert (ids(page.context["done"]), ids(page.context["skipped"])) == ([], [made.pk])


def test_what_another_person_did_meanwhile_is_not_said_to_be_done_by_this_one(operator: Client) -> None:
    made = job(status=Status.FAILED)
    sent = {"plan": plan_of(preview(operator, "requeue", made)), "reason": REASON}
    other = Client()
    other.force_login(people.operator("otto"))
    carry_out(other, "requeue", made)

    page = operator.post(url("requeue"), sent)

    assert (ids(page.context["done"]), ids(page.context["skipped"])) == ([], [made.pk])


def test_deleted_job_raises_no_error(operator: Client) -> None:
    made, other = job(), job()
    plan = plan_of(preview(operator, "cancel", made, other))
    Job.objects.filter(pk=made.pk).delete()

    response = operator.post(url("cancel"), {"plan": plan, "reason": REASON})

    assert ids(response.context["done"]) == [other.pk]


def forged(plan: str) -> str:
    return plan[:-1] + ("A" if plan[-1] != "A" else "B")


@pytest.mark.parametrize(
    "spoil", [forged, lambda _: "", lambda _: "é", lambda _: signing.dumps({"steps": []})]
)
def test_forged_plan_is_refused(operator: Client, spoil: Any) -> None:
    made = job()
    plan = plan_of(preview(operator, "cancel", made))

    response = operator.post(url("cancel"), {"plan": spoil(plan), "reason": REASON})

    assert response.status_code == 400
    assert "Nothing was changed" in response.content.decode()
    assert state(made) == ("pending", 1)


def test_plan_is_bound_to_action(operator: Client) -> None:
    made = job(status=Status.QUARANTINED)
    plan = plan_of(preview(operator, "release", made))

    assert operator.post(url("cancel"), {"plan": plan, "reason": REASON}).status_code == 400
    assert state(made) == ("quarantined", 1)


def test_plan_is_bound_to_user(operator: Client) -> None:
    made = job()
    plan = plan_of(preview(operator, "cancel", made))
    operator.force_login(people.operator("oskar"))

    assert operator.post(url("cancel"), {"plan": plan, "reason": REASON}).status_code == 400
    assert state(made) == ("pending", 1)


def test_expired_plan_is_refused(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    made = job()
    plan = plan_of(preview(operator, "cancel", made))
    monkeypatch.setattr(previews, "PREVIEW_LASTS", timedelta(seconds=-1))

    assert operator.post(url("cancel"), {"plan": plan, "reason": REASON}).status_code == 400
    assert state(made) == ("pending", 1)


@pytest.mark.parametrize("query", ["?id=nonsense", "?id=1"])
def test_invalid_ids_are_not_found(operator: Client, query: str) -> None:
    assert operator.get(url("cancel") + query).status_code == 404


def test_page_reports_missing_ids(operator: Client) -> None:
    page = operator.get(url("cancel"))
    assert "None of these jobs can be cancelled." in page.content.decode()
    assert page.context["title"] == "Cancel: nothing to do"


def test_unknown_action_is_not_found(operator: Client) -> None:
    assert operator.get(url("delete")).status_code == 404


def test_viewer_sees_no_buttons_and_is_refused(client: Client) -> None:
    client.force_login(people.operator())
    made = job(status=Status.FAILED)
    plan = plan_of(preview(client, "requeue", made))
    client.force_login(people.viewer())

    page = client.get(reverse("admin:jobs_job_change", args=[made.pk])).content.decode()
    assert "/operate/" not in page
    assert "action-select" not in client.get(LIST).content.decode()
    for action in JobAction:
        assert preview(client, action, made).status_code == 403
        assert client.post(url(action), {"plan": plan, "reason": REASON}).status_code == 403
        _select(client, f"{action}_selected", [made])
    assert state(made) == ("failed", 1)
    assert not JobEvent.objects.exists()


@pytest.mark.parametrize("granted", list(JobAction))
def test_one_permission_opens_one_action(client: Client, granted: JobAction) -> None:
    client.force_login(people.allowed(f"{granted}_job"))
    made = job()

    for action in JobAction:
        expected = 200 if action == granted else 403
        assert preview(client, action, made).status_code == expected


def test_post_without_its_token_is_refused() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(people.operator())
    made = job()

    response = client.post(
        url("cancel"), {"plan": plan_of(preview(client, "cancel", made)), "reason": REASON}
    )

    assert response.status_code == 403
    assert state(made) == ("pending", 1)


def test_running_job_is_not_requeued_but_may_be_cancelled(operator: Client) -> None:
    alive = run(age=60 * SECOND, silent=SECOND)

    assert ids(preview(operator, "requeue", alive).context["skipped"]) == [alive.pk]
    assert ids(preview(operator, "cancel", alive).context["will"]) == [alive.pk]
