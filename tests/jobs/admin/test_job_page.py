"""Tests of the page of a job: why it is stale, what its run had done, its actions, and its timeline."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from jobs.admin.jobs import job_page as job_pages
from jobs.admin.jobs import job_timeline
from jobs.models import Job, JobEvent, Outbox, RecoveryControl, Status
from jobs.recovery import control, sweeps
from jobs.runs.timeline import SWEEP, Actor, record
from opsconsole.kit import pauses
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Run
from tests import people
from tests.factories import SECOND, beat, job, letter, run
from tests.page_text import spaced

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
OPERATOR = Actor.operator("olga", 1)


@pytest.fixture(autouse=True)
def _one_queue(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/queue", None)}


def page_of(client: Client, made: Job) -> str:
    response = client.get(reverse("admin:jobs_job_change", args=[made.pk]))
    assert response.status_code == 200
    return response.content.decode()


def arm() -> None:
    control.arm(OPERATOR, "tests", None)


def test_page_names_dead_worker_and_announces_recovery(operator: Client) -> None:
    arm()
    page = page_of(operator, run(age=2 * HOUR, silent=HOUR, worker="worker-77"))

    assert "Why is it stale?" in page
    assert "The heartbeats of worker worker-77 stopped during this run." in page
    assert "10 min of silence" in page
    assert "A run is taken no earlier than 10 min after the last heartbeat that named it." in page
    assert "The next sweep requeues it." in page


def test_page_says_why_a_cancelled_job_can_not_be_requeued_yet(operator: Client) -> None:
    made = run(age=HOUR, silent=SECOND)
    Job.objects.filter(pk=made.pk).update(status=Status.CANCELLED)
    page = page_of(operator, made)
    assert "be requeued?" in page and "Wait until it has stopped." in page

    beat("worker-1", made.pk, 1, ago=HOUR)
    assert "Wait until it has stopped." not in page_of(operator, made)


def test_rule_for_unknown_runs_promises_no_recovery_to_runs_from_before_the_cutoff(operator: Client) -> None:
    control.arm(OPERATOR, "tests", timezone.now())
    control.give_up_unknown_runs(OPERATOR, "tests", after=48 * HOUR)
    page = page_of(operator, run(age=20 * HOUR, claimed=False))
    assert "By the rule for unknown runs, it counts as stale after" in page
    assert "until it has been silent" not in page


def test_run_that_was_recovered_too_often_is_announced_for_quarantine(operator: Client) -> None:
    arm()
    stale = run(age=2 * HOUR, silent=HOUR, recovery_count=3)

    assert "The next sweep quarantines it, because it has had 3 recoveries within 72 hours." in page_of(
        operator, stale
    )

    # The sweep forgives runs last seen before this time: it requeues this one and does not count the recovery.
    RecoveryControl.objects.update(forgiven_before=Now())
    page = page_of(operator, stale)
    assert "The next sweep requeues it although it has had 3 recoveries within 72 hours" in page
    assert "quarantine" not in page.partition("Why is it stale?")[2].partition("</section>")[0]
    sweeps.sweep("test")
    assert Job.objects.get(pk=stale.pk).status == Status.PENDING


def test_no_recovery_is_announced_while_recovery_is_paused(operator: Client) -> None:
    arm()
    stale = run(age=2 * HOUR, silent=HOUR)
    pauses.begin(pauses.RECOVERY, by="olga", reason="deploy")

    page = page_of(operator, stale)

    assert "Recovery is paused until somebody resumes it." in page
    assert "next sweep" not in page
    assert sweeps.sweep("test").requeued == 0


def test_no_recovery_is_announced_for_a_queue_that_sweeps_skip(operator: Client) -> None:
    arm()
    stale = run(age=2 * HOUR, silent=HOUR, queue="gone")

    page = page_of(operator, stale)

    assert "Its queue &#x27;gone&#x27; is not configured, so its message could not be sent." in page
    assert "next sweep" not in page
    assert sweeps.sweep("test").skipped == 1


def test_page_explains_why_run_is_not_recovered(operator: Client, settings: Any) -> None:
    stale = run(age=2 * HOUR, silent=HOUR)

    control.disarm(OPERATOR, "tests")
    assert "Recovery only observes" in page_of(operator, stale).partition("Why is it stale?")[2]

    control.arm(OPERATOR, "tests", timezone.now())
    assert "It began before the cutoff" in page_of(operator, stale)

    arm()
    settings.OPSCONSOLE_MASS_STALE_RUNS = 1
    sweeps.sweep("test")
    assert "because 1 run went silent at once" in page_of(operator, stale)


def test_healthy_run_has_no_diagnosis_panel(operator: Client) -> None:
    page = page_of(operator, run(age=60 * SECOND, silent=SECOND))

    assert "Why is it stale?" not in page
    assert "What is wrong?" not in page


def test_hung_run_and_a_lost_message_say_what_is_wrong(operator: Client) -> None:
    hung = run(age=2 * HOUR, silent=SECOND)
    assert "it looks hung" in page_of(operator, hung)
    assert "Its worker sends heartbeats, so recovery leaves it alone until" in page_of(operator, hung)
    waits = spaced(page_of(operator, job(updated_at=Now() - HOUR)))
    assert "Its message may be lost; that is not proven." in waits
    assert "<dt>No worker took it</dt><dd>for 1 h</dd>" in waits


IMPERATIVE = re.compile(r"(?:^|[.,:] |then |or )(?:requeue|cancel|release|replay)\b", re.IGNORECASE)


def test_no_text_above_the_facts_of_a_job_tells_a_viewer_to_press_a_button(client: Client) -> None:
    refused, used_up = job(), job(updated_at=Now() - HOUR)
    letter(refused, state=Outbox.State.REFUSED, last_error="InvalidMessageContents")
    letter(used_up, state=Outbox.State.SENT, sent_at=Now() - HOUR, resends=3)
    jobs = [
        refused, used_up, run(age=2 * HOUR, silent=SECOND, worker="hung"), run(age=2 * HOUR, silent=HOUR, worker="dead"),
        run(age=-HOUR, worker="ahead"), job(status=Status.FAILED), job(status=Status.QUARANTINED), job(status="odd"),
    ]  # fmt: skip
    client.force_login(people.viewer())
    for each in jobs:
        page = page_of(client, each)
        panel = page[page.index('id="content-main"') : page.index('id="summary-heading"')]
        assert IMPERATIVE.findall(re.sub("<[^>]+>", " ", panel)) == [], each


def test_page_of_a_waiting_job_says_that_its_queue_is_paused(operator: Client) -> None:
    waits, runs = job(), run(silent=SECOND)
    pauses.begin(pauses.of_queue("default"), by="ada", reason="the directory is down")
    shown = page_of(operator, waits)
    assert "Its queue was paused" in shown and "the directory is down" in shown
    assert "Its queue was paused" not in page_of(operator, runs)
    pauses.end(pauses.of_queue("default"), by="ada", reason="it is back")
    assert "Its queue has been paused" not in page_of(operator, waits)


def test_page_warns_that_old_kind_run_is_at_least_once(operator: Client) -> None:
    old = run(age=60 * SECOND, silent=SECOND, claimed=False)

    assert "it knows no epochs" in page_of(operator, old)
    assert "at-least-once" not in page_of(operator, run(age=60 * SECOND, silent=SECOND, worker="new"))


def test_job_page_shows_progress_of_earlier_runs_per_run(operator: Client) -> None:
    made = run(age=2 * HOUR, silent=HOUR, epoch=2)
    earlier = Run(made.pk, 1, Worker("earlier", "host", 1))
    now = Run(made.pk, 2, Worker("worker-1", "host", 1))
    lifecycle.note(earlier, "submitted to old", reference="old/7")
    lifecycle.note(now, "submitted to maps", reference="maps/1")
    lifecycle.note(earlier, "submitted too late")

    page = page_of(operator, made)
    panel = page.partition("What its runs already did")[2].partition("</section>")[0]

    current, _, before = panel.partition("Run 1 ")
    assert "Run 2 (current)" in current and '<span class="quiet">worker-1</span>' in current
    assert "submitted to maps" in current and "maps/1" in current
    assert "worker earlier" in before and "submitted to old" in before and "old/7" in before
    assert before.index("submitted to old") < before.index("submitted too late")
    assert "after the worker had lost the run" in before.partition("submitted too late")[2]


def test_notes_of_completed_job_stand_below_its_timeline(operator: Client) -> None:
    made = job(status=Status.COMPLETED, completed_at=Now())
    lifecycle.note(Run(made.pk, 1, Worker("worker-1", "host", 1)), "submitted to maps", reference="maps/1")

    page = page_of(operator, made)
    panel = page.partition("What its runs did")[2].partition("</details>")[0]

    assert "maps/1" in panel
    assert "Read these notes before you requeue the job" not in panel
    # Progress is how far a run is.
    timeline = page.partition('id="timeline')[2]
    assert ">Note<" in timeline
    assert ">Progress<" not in timeline


def test_requeued_job_still_shows_progress_of_its_dead_run(operator: Client) -> None:
    made = job(run_epoch=3)
    lifecycle.note(Run(made.pk, 1, Worker("dead", "host", 1)), "submitted to maps", reference="maps/1")

    panel = page_of(operator, made).partition("What its runs already did")[2].partition("</section>")[0]

    assert "Run 1 " in panel and "maps/1" in panel


def test_run_with_many_notes_does_not_hide_other_content(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_pages, "NOTES_SHOWN", 2)
    made = run(age=HOUR, silent=SECOND, epoch=2)
    lifecycle.note(Run(made.pk, 1, Worker("quiet", "host", 1)), "said once")
    for number in range(5):
        lifecycle.note(Run(made.pk, 2, Worker("worker-1", "host", 1)), f"step {number}")

    panel = page_of(operator, made).partition("What its runs already did")[2].partition("</section>")[0]

    assert "3 earlier notes not shown" in panel
    assert "step 2" not in panel
    assert panel.index("step 3") < panel.index("step 4") < panel.index("said once")


@pytest.mark.parametrize(("status", "warned"), [(Status.FAILED, True), (Status.COMPLETED, False)])
def test_only_a_job_that_may_run_again_is_warned_about(operator: Client, status: str, warned: bool) -> None:
    made = run(age=HOUR)
    lifecycle.note(Run(made.pk, 1, Worker("worker-1", "host", 1)), "submitted to maps")
    Job.objects.update(status=status)

    page = page_of(operator, made)

    assert "submitted to maps" in page.lower()
    assert ("Read these notes before you requeue the job" in page) is warned


def test_timeline_merges_events_and_messages_in_time(operator: Client) -> None:
    made = job()
    record(made.pk, JobEvent.Kind.ENQUEUED, run_epoch=1, actor=SWEEP)
    sent = letter(
        made, state=Outbox.State.SENT, sent_at=Now(), message_id="mid-1", attempts=2, last_error="slow"
    )
    JobEvent.objects.create(job=made, kind="claimed", run_epoch=1, actor="worker:w", at=Now() + SECOND)

    entries = operator.get(reverse("admin:jobs_job_change", args=[made.pk])).context["timeline"]

    assert [entry.actor for entry in entries] == ["worker:w", "dispatcher", "sweep"]
    assert entries[1].details["message_id"] == sent.message_id
    timeline = page_of(operator, made).partition('id="timeline"')[2]
    assert timeline.index("Claimed") < timeline.index("Message sent") < timeline.index("Enqueued")
    page = timeline
    assert "last_error" in page


@pytest.mark.parametrize("state", list(Outbox.State))
def test_each_message_state_has_label(operator: Client, state: Outbox.State) -> None:
    made = job()
    letter(made, state=state, destination=Outbox.Destination.DLQ)

    page = page_of(operator, made)

    assert "to the dead letter queue of default" in page


def test_event_kind_of_a_later_version_is_shown_as_it_is(operator: Client) -> None:
    made = job()
    JobEvent.objects.create(job=made, kind="teleported", run_epoch=1, actor="x", details=["a", "list"])

    assert "teleported" in page_of(operator, made)


def test_only_the_newest_events_are_read(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_timeline, "EVENTS_SHOWN", 3)
    made = job()
    for number in range(5):
        record(made.pk, JobEvent.Kind.PROGRESS, run_epoch=1, actor=SWEEP, details={"note": f"step {number}"})

    page = page_of(operator, made)

    assert "Only the newest 3 events are shown." in page
    assert "step 1" not in page.partition('id="timeline"')[2]
    assert "step 4" in page


def test_job_without_worker_and_job_whose_worker_left(operator: Client) -> None:
    assert "No worker runs this job now." in page_of(operator, job())
    assert "has no heartbeat row" in page_of(operator, run(age=SECOND, worker="gone"))


def test_page_shows_current_job_of_worker(operator: Client) -> None:
    moved = run(age=2 * HOUR, worker="moved")
    beat("moved", uuid4(), 1)
    assert "another job" in page_of(operator, moved)
    beat("moved")
    assert "no job" in page_of(operator, moved)


def test_page_offers_only_effective_actions(operator: Client) -> None:
    def actions(made: Job) -> set[str]:
        page = page_of(operator, made)
        return {name for name in ("requeue", "cancel", "release") if f"/operate/{name}/" in page}

    assert actions(job(status=Status.FAILED)) == {"requeue"}
    assert actions(job()) == {"cancel"}
    assert actions(run(age=2 * HOUR, silent=HOUR)) == {"requeue", "cancel"}
    assert actions(job(status=Status.QUARANTINED)) >= {"release"}
    assert actions(job(status=Status.COMPLETED)) == set()
    assert actions(job(status="archived")) == set()


@pytest.mark.parametrize("job_id", ["0b4f8f4e-8f3b-4f5e-9d0a-3f1f6c1b2a77", "nonsense", "1"])
def test_unknown_id_redirects_with_message(operator: Client, job_id: str) -> None:
    response = operator.get(reverse("admin:jobs_job_change", args=[job_id]), follow=True)

    assert "There is no job with this id." in response.content.decode()


def test_nothing_can_be_added_changed_or_deleted(operator: Client) -> None:
    made = job()
    assert operator.get(reverse("admin:jobs_job_add")).status_code == 403
    assert operator.get(reverse("admin:jobs_job_delete", args=[made.pk])).status_code == 403
    assert operator.post(reverse("admin:jobs_job_change", args=[made.pk]), {"status": "x"}).status_code == 405
    assert (
        operator.get(reverse("admin:jobs_job_history", args=[made.pk]))
        .headers["Location"]
        .endswith("#timeline")
    )


def test_page_requires_view_permission(client: Client) -> None:
    user = people.viewer()
    user.user_permissions.clear()
    client.force_login(user)

    assert client.get(reverse("admin:jobs_job_change", args=[job().pk])).status_code == 403
    assert "permission to see any figures" in client.get(reverse("admin:index")).content.decode()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"status": Status.QUARANTINED, "recovery_count": 3}, "No error was recorded. It had 3 recoveries."),
        ({"status": Status.QUARANTINED}, "No error was recorded."),
        # Recoveries are no cause of a failure.
        ({"status": Status.FAILED, "recovery_count": 3}, "No error was recorded."),
    ],
)
def test_job_without_an_error_names_what_led_to_quarantine(
    operator: Client, fields: dict[str, Any], sentence: str
) -> None:
    assert f'<p class="sentence">{sentence}</p>' in page_of(operator, job(**fields))


@pytest.mark.parametrize("status", [Status.PENDING, Status.IN_PROGRESS, Status.FAILED])
def test_job_of_a_queue_without_a_name_has_a_page(operator: Client, status: Status) -> None:
    """A producer in another language may write an empty text."""
    page = page_of(operator, job(queue="", status=status))
    assert "<dt>Queue</dt><dd>without a name</dd>" in page
