"""Tests of the recovery page: preview, arm with a cutoff, return to observing, release a hold (I6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import OperationalError
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from psycopg.errors import QueryCanceled

from jobs.admin.recovery import weighed_runs
from jobs.models import QueueNaming, RecoveryControl, ServerMark, Sweep, WorkerObservation
from jobs.operations import previews
from jobs.recovery import outlook, surroundings, sweeps
from opsconsole.kit import audit, pauses
from opsconsole_worker.environment import QueueConfig
from tests import people
from tests.factories import beat, run
from tests.sending import send, versions_on

pytestmark = pytest.mark.django_db

PAGE = reverse("admin:jobs_recoverycontrol_changelist")
HOUR = timedelta(hours=1)
MODE = RecoveryControl.Mode


@pytest.fixture(autouse=True)
def _one_queue(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/queue", None)}


def observe(**changes: Any) -> None:
    RecoveryControl.objects.update(**{"mode": MODE.OBSERVE, "cutoff": None, "hold_until": None} | changes)


def hold(settings: Any) -> None:
    settings.OPSCONSOLE_MASS_STALE_RUNS = 1
    run(age=2 * HOUR, silent=HOUR)
    observe(mode=MODE.ARMED, hold_started_at=Now() - HOUR, hold_until=Now() + HOUR)


def preview(client: Client, scope: str, since: str = "", reason: str = "checked the workers") -> Any:
    entries = {"decision": "preview", "arm-scope": scope, "arm-since": since, "arm-reason": reason}
    return send(client, PAGE, entries)


def arm(client: Client, previewed: Any) -> Any:
    entries = {"decision": "arm", "signed": previewed.context["signed"]} | versions_on(previewed)
    return client.post(PAGE, entries, follow=True)


def test_page_shows_what_sweep_would_do(operator: Client) -> None:
    observe()
    stale = run(age=2 * HOUR, silent=HOUR)
    run(age=2 * HOUR, silent=HOUR, worker="w2", recovery_count=3)

    text = operator.get(PAGE).content.decode()

    assert "Recovery only observes." in text
    assert str(stale.pk)[:8] in text
    assert "<strong>1 to requeue</strong>, 1 to quarantine, 0 to leave alone" in text
    assert "A run is taken no earlier than 10 min after the last heartbeat that named it." in text


def test_page_promises_no_recovery_during_pause(operator: Client) -> None:
    observe(mode=MODE.ARMED)
    stale = run(age=2 * HOUR, silent=HOUR)
    pauses.begin(pauses.RECOVERY, by="olga", reason="deploy")

    text = operator.get(PAGE).content.decode()

    assert "Recovery is armed, but paused." in text
    assert "Recovery is paused until somebody resumes it. Sweeps recover nothing before that." in text
    assert "next sweep" not in text
    assert str(stale.pk)[:8] in text
    assert sweeps.sweep("test").requeued == 0


def test_preview_promises_no_recovery_during_a_pause(operator: Client) -> None:
    observe()
    run(age=2 * HOUR, silent=HOUR)
    pauses.begin(pauses.RECOVERY, by="olga", reason="deploy")

    text = preview(operator, "all").content.decode()

    assert "Recovery is paused until somebody resumes it. Sweeps recover nothing before that." in text
    assert "next sweep" not in text


def test_preview_says_that_mass_of_stale_runs_is_held_first(operator: Client, settings: Any) -> None:
    settings.OPSCONSOLE_MASS_STALE_RUNS = 2
    observe()
    for number in range(2):
        run(age=2 * HOUR, silent=HOUR, worker=f"w{number}")

    previewed = preview(operator, "all")

    assert "The next sweep holds recovery for 10 min" in previewed.content.decode()
    arm(operator, previewed)
    text = operator.get(PAGE).content.decode()
    assert "Recovery is armed, but the next sweep holds it." in text
    assert sweeps.sweep("test").requeued == 0
    assert "Recovery is armed, but held." in operator.get(PAGE).content.decode()


def test_run_of_an_unknown_queue_is_shown_as_left_alone(operator: Client) -> None:
    observe(mode=MODE.ARMED)
    run(age=2 * HOUR, silent=HOUR, queue="gone")

    text = operator.get(PAGE).content.decode()

    assert "0 to requeue</strong>, 0 to quarantine, 1 to leave alone" in text
    assert "is not configured" in text


def test_page_names_the_queues_whose_stale_runs_are_left_alone(operator: Client, settings: Any) -> None:
    observe(mode=MODE.ARMED)
    run(age=2 * HOUR, silent=HOUR)
    told = "Sweeps leave stale runs of the queue default to operators"
    queue = reverse("admin:jobs_queuestate_change", args=["default"])
    for address in (PAGE, queue):
        assert told not in operator.get(address).content.decode()

    settings.OPSCONSOLE_RECOVERY_BY_HAND = ("default",)

    for address in (PAGE, queue):
        assert told in operator.get(address).content.decode()
    assert "0 to requeue</strong>, 0 to quarantine, 1 to leave alone" in operator.get(PAGE).content.decode()


def test_page_says_when_nothing_is_stale(operator: Client) -> None:
    assert "Nothing, because no run is stale." in operator.get(PAGE).content.decode()


@pytest.mark.parametrize(("read_by", "reading"), [(surroundings, "counted"), (outlook, "preview")])
def test_page_says_that_the_stale_runs_could_not_be_read_in_time(
    operator: Client, monkeypatch: pytest.MonkeyPatch, read_by: Any, reading: str
) -> None:
    def slow(*_: Any, **__: Any) -> None:
        raise OperationalError from QueryCanceled

    monkeypatch.setattr(read_by, reading, slow)
    shown = operator.get(PAGE).content.decode()
    assert "could not be read in time" in shown and "There may be none or many." in shown
    assert "What it does next depends on the stale runs" in shown
    # What was read is shown, and what may be decided is offered.
    assert "no run is stale" not in shown and 'value="disarm"' in shown


def test_long_list_is_truncated_with_notice(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weighed_runs, "WEIGHED", 3)
    monkeypatch.setattr(weighed_runs, "SHOWN", 1)
    for number in range(4):
        run(age=2 * HOUR, silent=HOUR, worker=f"w{number}")

    text = operator.get(PAGE).content.decode()

    assert "Of the 3 runs that have been silent for longest" in text
    assert "and 2 more." in text


def test_preview_counts_by_the_cutoff_and_changes_nothing(operator: Client) -> None:
    observe()
    run(age=5 * HOUR, silent=HOUR, worker="old")
    run(age=2 * HOUR, silent=HOUR, worker="new")
    since = f"{timezone.now() - 3 * HOUR:%Y-%m-%dT%H:%M}"

    assert preview(operator, "all").context["requeued"] == 2
    assert preview(operator, "since", since).context["requeued"] == 1
    assert preview(operator, "since", since).context["skipped"] == 1
    assert preview(operator, "now").context["requeued"] == 0
    assert RecoveryControl.load().mode == MODE.OBSERVE


def test_arming_takes_the_cutoff_that_was_previewed(operator: Client) -> None:
    observe()
    before = timezone.now()

    response = arm(operator, preview(operator, "now"))

    control = RecoveryControl.load()
    assert "Recovery is armed." in response.content.decode()
    assert control.armed
    assert control.cutoff is not None
    assert abs(control.cutoff - before) < timedelta(minutes=1)
    assert (control.changed_by, control.reason) == ("operator:olga", "checked the workers")
    assert "checked the workers" in audit.parts_of(LogEntry.objects.get()).why


def test_arming_for_all_runs_has_no_cutoff(operator: Client) -> None:
    observe(cutoff=Now())

    arm(operator, preview(operator, "all"))

    assert RecoveryControl.load().armed
    assert RecoveryControl.load().cutoff is None


def test_time_is_read_as_utc(operator: Client) -> None:
    arm(operator, preview(operator, "since", "2026-01-02T03:04"))

    assert RecoveryControl.load().cutoff == datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("scope", "since", "reason", "sentence"),
    [
        ("now", "", "", "Give a reason: it is kept with the change."),
        ("now", "", "  ", "Give a reason: it is kept with the change."),
        ("since", "", "why", "Give the time from which runs are recovered."),
        ("since", "yesterday", "why", "Enter a valid date/time."),
        ("since", "2999-01-02T03:04", "why", "2999-01-02 03:04 UTC is still to come"),
        ("never", "", "why", "Select a valid choice."),
    ],
)
def test_incomplete_form_names_missing_field(
    operator: Client, scope: str, since: str, reason: str, sentence: str
) -> None:
    observe()

    response = preview(operator, scope, since, reason)

    assert sentence in response.content.decode()
    assert RecoveryControl.load().mode == MODE.OBSERVE


@pytest.mark.parametrize("signed", ["", "forged", "WyJ4Il0:1:abc"])
def test_arming_without_a_preview_is_refused(operator: Client, signed: str) -> None:
    observe()

    response = operator.post(PAGE, {"decision": "arm", "signed": signed}, follow=True)

    assert "Nothing was changed" in response.content.decode()
    assert RecoveryControl.load().mode == MODE.OBSERVE


def test_foreign_or_expired_preview_is_refused(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    observe()
    previewed = preview(operator, "all")
    operator.force_login(people.operator("oskar"))
    arm(operator, previewed)
    assert RecoveryControl.load().mode == MODE.OBSERVE

    previewed = preview(operator, "all")
    monkeypatch.setattr(previews, "PREVIEW_LASTS", timedelta(seconds=-1))
    arm(operator, previewed)
    assert RecoveryControl.load().mode == MODE.OBSERVE


def test_return_to_observing_requires_reason(operator: Client) -> None:
    observe(mode=MODE.ARMED)

    refused = send(operator, PAGE, {"decision": "disarm", "disarm-reason": ""})
    assert "Give a reason" in refused.content.decode()
    assert RecoveryControl.load().armed

    send(operator, PAGE, {"decision": "disarm", "disarm-reason": "maintenance"})
    assert RecoveryControl.load().mode == MODE.OBSERVE
    assert RecoveryControl.load().reason == "maintenance"


def test_hold_is_shown_and_released_with_a_reason(operator: Client, settings: Any) -> None:
    hold(settings)
    assert "Recovery is armed, but held." in operator.get(PAGE).content.decode()

    refused = send(operator, PAGE, {"decision": "release", "release-reason": ""})
    assert "Give a reason" in refused.content.decode()
    assert RecoveryControl.load().hold_until is not None

    entries = {"decision": "release", "release-reason": "they are dead"}
    released = send(operator, PAGE, entries, follow=True)
    assert "The hold is released." in released.content.decode()
    assert "The next sweep recovers what may be recovered." in released.content.decode()
    control = RecoveryControl.load()
    assert control.hold_until is None
    assert control.forgiven_before is not None


def test_release_without_hold_is_reported(operator: Client) -> None:
    observe(mode=MODE.ARMED, hold_started_at=Now(), hold_until=Now() + HOUR)
    version = versions_on(operator.get(PAGE))
    observe(mode=MODE.ARMED)

    response = operator.post(PAGE, version | {"decision": "release", "release-reason": "why"}, follow=True)

    assert "Nothing was saved. This was changed after you opened the page." in response.content.decode()


def choose(client: Client, rule: str, hours: str = "", reason: str = "they name no jobs") -> str:
    posted = {"decision": "unknown", "unknown-rule": rule, "unknown-hours": hours, "unknown-reason": reason}
    page: str = send(client, PAGE, posted, follow=True).content.decode()
    return page


def test_rule_for_unknown_runs_is_chosen_with_a_reason(operator: Client) -> None:
    unheard = run(age=13 * HOUR, claimed=False)
    assert "Whether the run is alive is unknown." in operator.get(PAGE).content.decode()
    assert "Give the hours of silence" in choose(operator, "after")
    assert "Give a reason" in choose(operator, "after", "6", reason="")
    assert "between the stale threshold" in choose(operator, "after", "0.01")
    assert RecoveryControl.load().unknown_rule == "never"

    page = choose(operator, "after", "6")
    assert "Unknown runs count as stale after 6 h of silence." in page
    state = RecoveryControl.load()
    assert (state.unknown_rule, state.unknown_after, state.changed_by) == ("after", 6 * HOUR, "operator:olga")
    assert "they name no jobs" in audit.parts_of(LogEntry.objects.get()).why
    sweeps.sweep("test")
    unheard.refresh_from_db()
    assert unheard.status == "pending"


def test_kinds_of_workers_are_shown_before_arming(operator: Client) -> None:
    observe()
    QueueNaming.objects.create(queue="default", seen=20, named=1)
    beat("pool")
    WorkerObservation.objects.create(
        worker_id="pool", beat_at=Now(), seen_at=Now(), shared_at=Now(), clock_offset=2 * HOUR
    )
    workers = reverse("admin:jobs_workerheartbeat_changelist")
    pages = [operator.get(PAGE), preview(operator, "all"), operator.get(workers)]
    for text in (response.content.decode() for response in pages):
        assert "5% were seen named by a heartbeat" in text
        assert "use the same id: pool" in text
        assert "that of pool is 2 h ahead" in text
    assert "Unknown runs are left to operators." in pages[1].content.decode()


def test_viewer_sees_the_page_and_changes_nothing(client: Client, settings: Any) -> None:
    hold(settings)
    client.force_login(people.viewer())

    text = client.get(PAGE).content.decode()
    assert '<form method="post" class="panel' not in text
    for decision in ("preview", "arm", "disarm", "release", "unknown"):
        posted = {"decision": decision, "disarm-reason": "x", "release-reason": "x", "arm-scope": "all"}
        assert client.post(PAGE, posted).status_code == 403
    assert RecoveryControl.load().armed
    assert RecoveryControl.load().hold_until is not None


def test_permission_to_arm_suffices_for_arming(client: Client) -> None:
    observe()
    client.force_login(people.allowed("arm_recovery"))

    arm(client, preview(client, "all"))

    assert RecoveryControl.load().armed


def test_page_requires_view_permission(client: Client) -> None:
    user = people.viewer()
    user.user_permissions.clear()
    client.force_login(user)

    assert client.get(PAGE).status_code == 403


def test_other_pages_link_to_recovery_page(operator: Client) -> None:
    for name in ("change", "history"):
        response = operator.get(reverse(f"admin:jobs_recoverycontrol_{name}", args=[1]))
        assert response.headers["Location"] == PAGE
    assert operator.post(PAGE, {"decision": "nonsense"}).headers["Location"] == PAGE


def test_page_names_no_job_to_somebody_who_may_not_see_jobs(client: Client) -> None:
    said = {"Rule check_customer": {"runs": 1, "jobs": [], "said": "Failing row contains (CUST-00417)."}}
    Sweep.objects.create(mode=MODE.ARMED, finished_at=Now(), details={"refused": said})
    ServerMark.objects.update_or_create(pk=1, defaults={"signs": ["Worker w1 told of run 3 of job j-1."]})
    vera = people.viewer()
    client.force_login(vera)
    page = client.get(PAGE).content.decode()
    assert "CUST-00417" in page and "job j-1" in page

    vera.user_permissions.remove(Permission.objects.get(codename="view_job"))
    page = client.get(PAGE).content.decode()
    assert "refused to let the last sweep recover 1 run" in page and "seems to have been restored" in page
    assert "CUST-00417" not in page and "job j-1" not in page
