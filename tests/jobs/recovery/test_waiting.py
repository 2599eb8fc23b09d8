"""Tests of why a pending job waits: what happened to its message, on its page and as a filter of the list."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from jobs.models import Job, MessageTrouble, Outbox, QueueState, RecoveryControl, Status, Sweep
from jobs.recovery import control, resends, sweeps, waiting
from jobs.recovery.waiting import Waiting
from jobs.runs.timeline import Actor
from opsconsole import overview
from opsconsole.kit import pauses
from opsconsole_worker.environment import QueueConfig
from tests.factories import SECOND, beat, job, letter, run
from tests.page_costs import fewest_statements

pytestmark = pytest.mark.django_db

State = Outbox.State
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
LIST = reverse("admin:jobs_job_changelist")
ADA = Actor.operator("ada", None)


@pytest.fixture(autouse=True)
def armed(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/jobs", None)}
    RecoveryControl.objects.get_or_create(pk=1)
    control.arm(ADA, "tests", cutoff=None)


def seen(*, visible: int = 0, ago: timedelta = timedelta(0), error: str = "") -> None:
    """Record the last reading of the queue."""
    read_at = Now() - ago
    QueueState.objects.create(
        name="default", visible=visible, in_flight=0, delayed=0, read_at=read_at, error=error
    )


def sent(*, ago: timedelta = HOUR, **fields: Any) -> Job:
    """Create a job whose message was sent ``ago`` and that no worker has claimed since."""
    made = job(updated_at=Now() - ago)
    about: dict[str, Any] = {"state": State.SENT, "sent_at": Now() - ago, "attempts": 1}
    letter(made, **about | fields)
    return made


def look(made: Job) -> Waiting:
    found = waiting.look(made.pk)
    assert found
    return found


def fact(found: Waiting, label: str) -> str:
    return str(dict(found.facts)[label])


def _pause(settings: Any) -> None:
    pauses.begin(pauses.RECOVERY, by="ada", reason="deploy")


def _begin_a_hold(settings: Any) -> None:
    settings.OPSCONSOLE_MASS_STALE_RUNS = 1
    run(age=2 * HOUR, silent=HOUR)
    assert sweeps.sweep("test").mode == Sweep.Mode.HELD


def _last_sweep(ago: timedelta) -> None:
    Sweep.objects.create(trigger="schedule", mode=Sweep.Mode.ARMED, finished_at=Now() - ago)


def test_proven_loss_is_shown_with_its_proof() -> None:
    made = sent()
    seen()
    found = look(made)
    assert found.trouble == MessageTrouble.LOST
    assert (
        found.sentence
        == "Its message is lost: no worker took it for 1 h, and queue 'default' was seen empty."
    )
    assert fact(found, "Proof") == "queue 'default' was seen empty"
    assert fact(found, "Re-sent") == "0 of 3 times"
    assert fact(found, "Next re-send") == "The next sweep sends it again, unless a worker takes it before."
    assert dict(found.facts)["Last sent"] == Outbox.objects.get().sent_at
    # The job has waited since it was created, which its page tells elsewhere; this is about its last message.
    told = dict(found.facts)
    assert fact(found, "No worker took it").startswith("1:00:") and "Waiting since" not in told


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        ({"visible": 7}, "its queue holds about 7 messages, of which one may be its own"),
        ({"visible": 1}, "its queue holds about 1 message, of"),
        ({"error": "AccessDenied"}, "what its queue holds is unknown, so no message is sent again"),
        (None, "what its queue holds is unknown, so no message is sent again"),
        ({"ago": 2 * HOUR}, "its queue was not seen empty since"),
    ],
)
def test_unproven_loss_is_not_called_lost(reading: dict[str, Any] | None, words: str) -> None:
    if reading is not None:
        seen(**reading)
    found = look(sent())
    assert found.trouble == MessageTrouble.UNPROVEN
    assert "Its message may be lost; that is not proven." in found.sentence
    assert fact(found, "Proof").startswith(f"none: {words}")


def test_wording_of_missing_messages() -> None:
    made, other = sent(ago=2 * HOUR), sent()
    seen(visible=1)
    found = look(made)
    words = "queue 'default' held 1 message fewer than jobs wait whose message was sent"
    assert found.trouble == MessageTrouble.LOST
    assert found.sentence == f"Its message is probably lost: no worker took it for 2 h, and {words}."
    assert fact(found, "Proof") == words
    assert look(other).trouble == MessageTrouble.UNPROVEN


def test_used_up_resends_are_shown_with_advice() -> None:
    seen()
    found = look(sent(resends=3))
    assert (found.trouble, found.trouble.pressing) == (MessageTrouble.USED_UP, True)
    assert "was sent again 3 times, and still no worker claims it" in found.sentence
    assert "the job has to be cancelled, and then requeued" in found.sentence
    assert fact(found, "Re-sent") == "3 of 3 times"


def test_refused_message_is_shown_at_once() -> None:
    made = job()
    letter(made, state=State.REFUSED, last_error="InvalidMessageContents.")
    found = look(made)
    assert (found.trouble, found.trouble.pressing) == (MessageTrouble.REFUSED, True)
    assert fact(found, "Why") == "InvalidMessageContents."


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"attempts": 2, "last_error": "can't be reached"}, "The last try failed: can't be reached"),
        ({"attempts": 0, "due": HOUR}, "Check that the dispatcher runs"),
    ],
)
def test_unsent_message_is_not_called_lost(fields: dict[str, Any], words: str) -> None:
    made = job(updated_at=Now() - HOUR)
    letter(made, **fields)
    found = look(made)
    assert found.trouble == MessageTrouble.UNSENT
    assert words in found.sentence


def test_message_is_attributed_to_its_producer() -> None:
    assert "sent by its producer" in fact(look(job(updated_at=Now() - HOUR)), "Message")


def test_boundary_of_long() -> None:
    assert waiting.look(sent(ago=29 * MINUTE).pk) is None
    assert waiting.look(sent(ago=30 * MINUTE + SECOND).pk)
    fresh = job()
    letter(fresh)
    assert waiting.look(fresh.pk) is None
    assert waiting.look(job(status=Status.COMPLETED).pk) is None


# What keeps sweeps from sending a lost message again, and what is said about it.
CHANGES = pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda settings: control.disarm(ADA, "tests"), "Recovery only observes"),
        (
            lambda settings: control.arm(ADA, "tests", timezone.now()),
            "has been waiting since before the cutoff",
        ),
        (
            lambda settings: setattr(settings, "OPSCONSOLE_LOST_RESEND", "off"),
            "OPSCONSOLE_LOST_RESEND is off",
        ),
        (lambda settings: beat("old"), "workers without epochs"),
        (
            _pause,
            "Recovery is paused until somebody resumes it. Until then no message is sent again.",
        ),
        (_begin_a_hold, "or until somebody releases the hold"),
        (lambda settings: _last_sweep(HOUR), "No sweep has ended for 1 h"),
    ],
)


@CHANGES
def test_who_may_resend_message(settings: Any, change: Any, words: str) -> None:
    made = sent()
    seen()
    change(settings)
    told = fact(look(made), "Next re-send")
    assert words in told
    assert "next sweep" not in told


@CHANGES
def test_overview_says_of_a_lost_message_what_the_job_page_says(
    settings: Any, operator: Client, change: Any, words: str
) -> None:
    made = sent()
    seen()
    change(settings)
    overview.memory.clear()
    moment = overview.read_moment()
    [finding] = [
        each for each in overview.findings(moment.seen, moment.around) if "lost message" in each.sentence
    ]

    assert shown(operator, **dict(parse_qsl(finding.query[1:]))) == [made.pk]
    assert finding.sentence.startswith("1 job ")
    told = fact(look(made), "Next re-send")
    if "cutoff" in words:
        assert told == resends.BEFORE_CUTOFF
        assert "from before the cutoff" in finding.sentence
        assert "No sweep sends it again" in finding.advice
    else:
        assert finding.advice in (told, f"{told} {resends.BY_HAND}")


def test_overview_is_silent_about_what_the_next_sweep_sends_again() -> None:
    sent()
    seen()
    overview.memory.clear()
    moment = overview.read_moment()
    assert "lost message" not in str(overview.findings(moment.seen, moment.around))


def test_jobs_from_before_the_cutoff_are_told_beside_those_that_a_pause_holds_back(
    settings: Any, operator: Client
) -> None:
    control.arm(ADA, "tests", timezone.now() - 2 * HOUR)
    for ago in (HOUR, 3 * HOUR, 4 * HOUR):
        sent(ago=ago)
    seen()
    _pause(settings)
    overview.memory.clear()

    moment = overview.read_moment()

    assert (moment.seen.lost, moment.seen.lost_before_cutoff) == (1, 2)
    told = [each for each in overview.findings(moment.seen, moment.around) if "lost message" in each.sentence]
    counts = [len(shown(operator, **dict(parse_qsl(each.query[1:])))) for each in told]
    assert counts == [1, 2]
    assert len(shown(operator, message="lost")) == 3


@pytest.mark.parametrize("held_still", [_begin_a_hold, _pause])
def test_pause_or_hold_keeps_sweeps_from_sending_again(settings: Any, held_still: Any) -> None:
    sent()
    seen()
    held_still(settings)
    assert sweeps.sweep("test").resent == 0


def test_time_until_the_next_resend_is_shown() -> None:
    made = sent(ago=40 * MINUTE, resends=1)
    seen()
    told = fact(look(made), "Next re-send")
    assert re.fullmatch(
        r"A sweep sends it again, no earlier than in (19|20) min.*, unless a worker takes it before\.", told
    )


def test_queue_that_is_not_configured_is_named() -> None:
    made = job(updated_at=Now() - HOUR, queue="gone")
    assert fact(look(made), "Proof") == "none: the queue 'gone' is not configured here"
    assert (
        fact(look(made), "Next re-send") == "Nothing can be sent to the queue 'gone' until it is configured."
    )


def test_job_page_shows_waiting_panel(operator: Client) -> None:
    made = sent(resends=3)
    page = operator.get(reverse("admin:jobs_job_change", args=[made.pk])).content.decode()
    panel = page.partition('id="why-heading"')[2].partition("</section>")[0]
    assert "Why does it wait?" in panel
    assert "sent again 3 times" in panel
    assert "Re-sent in vain" in page.partition("</h1>")[0]


def test_page_of_a_job_that_waits_briefly_has_no_message_panel(operator: Client) -> None:
    page = operator.get(reverse("admin:jobs_job_change", args=[sent(ago=SECOND).pk])).content.decode()
    assert "why-heading" not in page


def shown(client: Client, **query: str) -> list[UUID]:
    response = client.get(LIST, query)
    assert response.status_code == 200
    return [row.pk for row in response.context["cl"].result_list]


MANY = """
WITH made AS (
    INSERT INTO jobs (customer_id, package_size) SELECT 'c', 1 FROM generate_series(1, 5000) RETURNING id
)
INSERT INTO outbox (job_id, run_epoch, state, message_id, sent_at) SELECT id, 1, 'sent', id::text, now() FROM made
"""


def test_used_up_ones_are_found_by_their_own_index() -> None:
    """Check that an index is used: the overview runs this query every few seconds on a large outbox."""
    sent(resends=3)
    with connection.cursor() as cursor:
        # Of tables of a few rows, what earlier tests left in their statistics decides.
        cursor.execute(MANY)
        cursor.execute("ANALYZE jobs, outbox")
        plan = Job.objects.with_trouble(MessageTrouble.USED_UP).explain()
    assert "outbox_in_vain_idx" in plan


@pytest.mark.parametrize("trouble", MessageTrouble)
def test_list_looks_for_a_trouble_once(operator: Client, trouble: MessageTrouble) -> None:
    """Its count and its page are one statement, which reads the outbox for every waiting job."""
    sent()
    seen()
    statements = fewest_statements(operator, LIST, {"message": trouble.value})
    searches = [sql for sql in statements if '"outbox"' in sql and " AS compiled " not in sql]
    assert len(searches) == 1


def test_panel_takes_few_queries() -> None:
    made = sent()
    seen()
    with CaptureQueriesContext(
        connection,
    ) as asked:
        look(made)
    assert len(asked) <= 9
