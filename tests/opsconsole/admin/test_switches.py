"""Tests of switches: pausing recovery, checks and queues, with a reason and an end time."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from jobs.models import Job, RecoveryControl, Sweep
from jobs.recovery import sweeps
from opsconsole import overview, switches
from opsconsole.kit import audit, pauses
from opsconsole.kit.models import Pause
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.working.consumer import Consumer
from tests import people
from tests.factories import job, run
from tests.racing import race
from tests.sending import send, versions_on

if TYPE_CHECKING:
    from tests.conftest import TestQueue

LIST = reverse("admin:opsconsole_pause_changelist")
HOUR = timedelta(hours=1)
WHY = "deploy 1.4"


@pytest.fixture(autouse=True)
def _fresh_figures() -> None:
    overview.memory.clear()


def begin(name: str = pauses.RECOVERY, lasting: timedelta | None = HOUR) -> Pause:
    return pauses.begin(name, by="olga", reason=WHY, lasting=lasting)


@pytest.mark.django_db
def test_pause_ends_at_its_time() -> None:
    begin()
    assert pauses.active(pauses.RECOVERY)

    Pause.objects.update(until=Now())

    assert pauses.active(pauses.RECOVERY) is None
    assert pauses.end(pauses.RECOVERY, by="olga", reason=WHY) is None
    begin()
    earlier = Pause.objects.order_by("id")[0]
    assert (earlier.ended_by, earlier.ended_at) == ("automatically", earlier.until)


@pytest.mark.django_db
def test_new_pause_replaces_old_one() -> None:
    begin(lasting=HOUR)
    begin(lasting=None)

    assert Pause.objects.active().count() == 1
    assert Pause.objects.order_by("id")[0].end_reason == "Replaced by another pause."


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["recovery", "dead letter checks", "queue:default"])
@pytest.mark.parametrize(("first", "says"), [(HOUR, r"until .*UTC"), (None, "until somebody resumes it")])
def test_no_pause_is_ended_earlier_by_another(name: str, first: timedelta | None, says: str) -> None:
    held = begin(name, lasting=first)

    with pytest.raises(pauses.WouldEndEarlier, match=f"by olga, lasts {says}; this one would end earlier"):
        begin(name, lasting=HOUR / 2)

    assert pauses.active(name) == held
    assert Pause.objects.get() == held
    begin(name, lasting=2 * HOUR if first else None)
    shorter = pauses.begin(name, by="ada", reason=WHY, lasting=HOUR / 2, shorten=True)
    assert pauses.active(name) == shorter


@pytest.mark.django_db(transaction=True)
def test_of_pauses_at_once_the_longest_lasts() -> None:
    def try_it(minutes: int) -> None:
        with suppress(pauses.PauseRefused):
            begin(lasting=timedelta(minutes=minutes))

    race([partial(try_it, minutes) for minutes in (10, 240, 30, 60)])

    held = pauses.active(pauses.RECOVERY)
    assert held and held.until and held.until - held.began_at >= timedelta(minutes=239)


@pytest.mark.django_db
@pytest.mark.parametrize("lasting", [timedelta(0), timedelta(days=8), timedelta(minutes=-1)])
def test_invalid_duration_is_refused(lasting: timedelta) -> None:
    with pytest.raises(pauses.PauseRefused, match="at most 7 days"):
        begin(lasting=lasting)
    with pytest.raises(pauses.PauseRefused, match="reason"):
        pauses.begin(pauses.RECOVERY, by="olga", reason=" ")


@pytest.mark.django_db(transaction=True)
def test_two_operators_at_once_leave_one_pause() -> None:
    def try_it(number: int) -> bool:
        try:
            pauses.begin(pauses.RECOVERY, by=f"operator {number}", reason=WHY)
        except pauses.PauseRefused:
            return False
        return True

    began = race([partial(try_it, number) for number in range(6)])

    assert any(began)
    assert Pause.objects.active().count() == 1
    assert Pause.objects.filter(ended_at=None).count() == 1


@pytest.mark.django_db
def test_deploy_window_pauses_recovery_until_its_end(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/queue", None)}
    RecoveryControl.objects.update(mode=RecoveryControl.Mode.ARMED)
    dead = run(age=2 * HOUR, silent=HOUR)
    begin()

    held = sweeps.sweep("test")

    assert (held.mode, held.found, held.requeued) == (Sweep.Mode.PAUSED, 1, 0)
    assert Job.objects.get(pk=dead.pk).run_epoch == dead.run_epoch
    Pause.objects.update(until=Now())
    assert sweeps.sweep("test").requeued == 1


@pytest.mark.django_db(transaction=True)
def test_workers_receive_nothing_from_paused_queue(sqs_queue: TestQueue) -> None:
    made = job()
    sqs_queue.client.send_message(QueueUrl=sqs_queue.url, MessageBody=f'{{"job_id": "{made.pk}"}}')
    worker = Consumer(_configured(), lambda _: None, poll_seconds=0)
    pauses.begin(pauses.of_queue("default"), by="olga", reason=WHY)

    worker.poll()
    assert worker.finished_runs == 0

    pauses.end(pauses.of_queue("default"), by="olga", reason=WHY)
    worker.poll()
    assert worker.finished_runs == 1


def _configured() -> Any:
    from django.conf import settings

    return settings.QUEUES["default"]


@pytest.mark.django_db
def test_operator_pauses_and_resumes_on_the_page(client: Client) -> None:
    client.force_login(people.allowed("switch"))

    page = send(
        client,
        LIST,
        {"name": "recovery", "decision": "pause", "recovery-reason": WHY, "recovery-minutes": "30"},
        follow=True,
    ).content.decode()

    assert "It resumes automatically at" in page
    assert "by paul: “deploy 1.4”." in client.get(reverse("admin:jobs_job_changelist")).content.decode()
    send(client, LIST, {"name": "recovery", "decision": "resume", "recovery-reason": "deployed"})
    assert pauses.active("recovery") is None
    assert [audit.parts_of(entry) for entry in LogEntry.objects.order_by("pk")] == [
        audit.AuditParts("Recovery is paused.", "deploy 1.4"),
        audit.AuditParts("Automatic recovery: resumed.", "deployed"),
    ]


@pytest.mark.django_db
def test_pause_is_extended_on_the_page(client: Client) -> None:
    client.force_login(people.allowed("switch"))
    first = begin(lasting=timedelta(minutes=10))
    longer = {"name": "recovery", "decision": "extend", "recovery-longer-minutes": "60"}

    page = send(client, LIST, longer).content.decode()
    assert "Give a reason" in page and pauses.active("recovery") == first

    send(client, LIST, longer | {"recovery-longer-reason": "it takes longer"})
    held = pauses.active("recovery")
    assert held and first.until and held.until
    assert held.until - first.until >= timedelta(minutes=50)
    assert held.reason == "it takes longer"
    first.refresh_from_db()
    assert first.ended_by == "paul"
    assert audit.parts_of(LogEntry.objects.latest("pk")) == audit.AuditParts(
        "Recovery is paused for longer.", "it takes longer"
    )

    # Who saw the pause does not begin another one after somebody ended it.
    seen = client.get(LIST)
    pauses.end("recovery", by="olga", reason="deployed")
    answer = client.post(LIST, longer | {"recovery-longer-reason": "once more"} | versions_on(seen))
    assert answer.status_code == 409
    assert pauses.active("recovery") is None


@pytest.mark.django_db
def test_page_shortens_a_pause_only_where_it_is_meant(client: Client) -> None:
    client.force_login(people.allowed("switch"))
    held = begin(lasting=HOUR)
    shorter = {
        "name": "recovery",
        "decision": "extend",
        "recovery-longer-minutes": "10",
        "recovery-longer-reason": "rolled back",
    }
    box = "Let it end earlier than it does now"
    assert box not in client.get(LIST).content.decode()

    page = send(client, LIST, shorter).content.decode()

    assert "this one would end earlier. To do so on purpose, tick" in page and page.count(box) == 2
    assert pauses.active("recovery") == held
    send(client, LIST, shorter | {"recovery-longer-shorten": "on"})
    assert (now := pauses.active("recovery")) and now.until and held.until and now.until < held.until


@pytest.mark.django_db
def test_page_sets_the_end_of_a_pause_without_one(client: Client) -> None:
    client.force_login(people.allowed("switch"))
    begin(lasting=None)
    assert "Set the end" in client.get(LIST).content.decode()

    fields = {"recovery-longer-minutes": "10", "recovery-longer-reason": "nearly done"}
    send(client, LIST, {"name": "recovery", "decision": "extend"} | fields)

    assert (held := pauses.active("recovery")) and held.until


@pytest.mark.django_db
def test_page_asks_for_a_reason(client: Client) -> None:
    client.force_login(people.operator())

    page = send(client, LIST, {"name": "recovery", "decision": "pause"}).content.decode()

    assert "Give a reason" in page
    assert not Pause.objects.exists()


@pytest.mark.django_db
def test_viewer_can_see_switches_but_not_use_them(client: Client) -> None:
    client.force_login(people.viewer())

    assert '<button type="submit" class="operation' not in client.get(LIST).content.decode()
    answer = client.post(LIST, {"name": "recovery", "decision": "pause", "recovery-reason": WHY})
    assert answer.status_code == 403
    assert not Pause.objects.exists()


@pytest.mark.django_db
def test_command_pauses_lists_and_resumes(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("pause", "recovery", minutes=20, reason=WHY, operator="ci")
    assert "by ci: “deploy 1.4”." in capsys.readouterr().out

    call_command("pause", "recovery", resume=True, reason="done", operator="ci")
    assert "Nothing is paused." in capsys.readouterr().out
    with pytest.raises(CommandError, match="nothing to resume"):
        call_command("pause", "recovery", resume=True, reason="done")
    with pytest.raises(CommandError, match="'recovery', 'dead letter checks'"):
        call_command("pause", "the world", reason=WHY)
    with pytest.raises(CommandError, match="reason"):
        call_command("pause", "recovery")


@pytest.mark.django_db
def test_command_shortens_a_pause_only_where_it_is_told_to() -> None:
    held = begin(lasting=HOUR)

    with pytest.raises(CommandError, match=r"by olga, lasts until .* add --shorten. Nothing was changed"):
        call_command("pause", "recovery", minutes=20, reason=WHY)
    assert pauses.active(pauses.RECOVERY) == held

    call_command("pause", "recovery", minutes=20, shorten=True, reason=WHY)
    assert (now := pauses.active(pauses.RECOVERY)) and now.until and held.until and now.until < held.until
    with pytest.raises(CommandError, match="--shorten has no effect without --minutes"):
        call_command("pause", "recovery", shorten=True, reason=WHY)


@pytest.mark.django_db
@pytest.mark.parametrize("given", [{"resume": True}, {"minutes": 20}, {"reason": WHY}], ids=str)
def test_command_without_a_name_does_not_pretend_to_change_anything(given: dict[str, Any]) -> None:
    begin("recovery")
    with pytest.raises(CommandError, match=r"Name what to pause or to resume: 'recovery'.* Nothing was done"):
        call_command("pause", **given)
    assert pauses.active(pauses.RECOVERY)


@pytest.mark.django_db
def test_removed_queue_is_not_listed() -> None:
    begin("queue:gone")

    assert switches.in_force() == []
