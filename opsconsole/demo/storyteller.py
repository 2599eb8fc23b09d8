"""The demo's storyteller: creates the operator, produces jobs, plays the story and prints the account."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

from django.contrib.auth import get_user_model
from django.db import InterfaceError, OperationalError, connection
from django.db.models import Count
from django.utils import timezone

from alerts.channels.targets import SLACK
from alerts.sending import channel_test
from jobs.models import Job, JobEvent
from jobs.recovery import control
from jobs.runs import status_wording
from jobs.runs.timeline import CONSOLE
from opsconsole.cluster import schedules
from opsconsole.demo import account, services
from opsconsole.demo.by_hand import RunsByHand
from opsconsole.demo.dead_letters import Letters
from opsconsole.demo.limited_client import Limits
from opsconsole.demo.output import say, short
from opsconsole.demo.producer import Producer
from opsconsole.demo.story import Story
from opsconsole.kit.database_troubles import Trouble, trouble_behind
from opsconsole.kit.errors import first_line
from opsconsole.kit.supervision.supervisor import StopRequests

Answer = TypeVar("Answer")

OPERATOR = "operator"
TURN_SECONDS = 0.3
COUNT_SECONDS = 15.0
JOBS_BEFORE_THE_STORY = 4
# Enough for the last job to use all its retries, or to be recovered from a dead worker once.
DRAIN_SECONDS = 50.0
# A run that begins to wait for a person later would not be stale in time to be requeued before the end.
LAST_RUN_BY_HAND_SECONDS = 85.0
# Overlapping transactions may commit events in another order than that of their ids.
LOOK_BACK = 500
# About half a minute of a database that is away.
MOST_FAILED_TURNS = 100
REMARKABLE = {
    JobEvent.Kind.RECOVERED,
    JobEvent.Kind.QUARANTINED,
    JobEvent.Kind.FAILED,
    JobEvent.Kind.RETRY_SCHEDULED,
    JobEvent.Kind.REQUEUED,
    JobEvent.Kind.RELEASED,
    JobEvent.Kind.CANCELLED,
    JobEvent.Kind.RESENT,
    JobEvent.Kind.LATE_RESULT_REJECTED,
}


class Storyteller:
    """The process that drives the demo; separate, so that the supervisor never waits for the database."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.began = float(environ["DEMO_BEGAN"])
        self.address = environ["DEMO_ADDRESS"]
        self.seconds = float(environ["DEMO_SECONDS"] or 0) or None
        self.producer = Producer()
        self.letters = Letters(self.address)
        self.limits = Limits(self.address)
        self.by_hand = RunsByHand(self.address)
        self.story: Story | None = None
        self.production_ended_at: datetime | None = None
        self._heard: set[int] = set()
        self._failed_turns = 0
        self._password = secrets.token_urlsafe(9)
        self._count_at = time.monotonic() + COUNT_SECONDS

    def run(self, stop: StopRequests) -> bool:
        """Run until the time is over or somebody stops it; return whether all went well."""
        while not stop.asked and not self._outlast(self._prepare):
            time.sleep(TURN_SECONDS)
        self._open(stop)
        while not stop.asked and not self._time_is_over():
            self._outlast(self._turn)
            time.sleep(TURN_SECONDS)
        while not stop.asked:
            good = self._outlast(self._close)
            if good is not None:
                return good
            time.sleep(TURN_SECONDS)
        return True

    def _outlast(self, action: Callable[[], Answer]) -> Answer | None:
        """Do this; return None if it failed. A session that somebody ended ends no demo: the next try opens another."""
        try:
            answer = action()
        except (OperationalError, InterfaceError) as error:
            self._failed_turns += 1
            if trouble_behind(error) is not Trouble.AWAY or self._failed_turns > MOST_FAILED_TURNS:
                raise
            if self._failed_turns == 1:
                say("demo", f"the database ended a session, trying again: {first_line(error)}")
            connection.close()
            return None
        self._failed_turns = 0
        return answer

    @property
    def age(self) -> float:
        return time.time() - self.began

    def _time_is_over(self) -> bool:
        return self.seconds is not None and self.age >= self.seconds

    def _prepare(self) -> bool:
        schedules.sync()
        control.arm(CONSOLE, "The demo shows recovery at work.", None)
        users = get_user_model().objects
        if not users.filter(username=OPERATOR).exists():
            users.create_superuser(OPERATOR, password=self._password)
        channel_test.send(SLACK, "the demo")
        return True

    def _open(self, stop: StopRequests) -> None:
        if services.wait_for(lambda: services.answers(self.address), stop=lambda: bool(stop.asked)):
            say("demo", f"the console answers after {self.age:.0f} s")
        elif not stop.asked:
            say("demo", "the console does not answer yet; the log of its web server says why")
        say("demo", f"address   {self.address}/admin/")
        say("demo", f"login     {OPERATOR}")
        say("demo", f"password  {self._password}")

    def _turn(self) -> None:
        self._produce()
        self._leave_runs_by_hand()
        if self.story is None and self.producer.enqueued >= JOBS_BEFORE_THE_STORY:
            self.story = Story(self.address)
        for event in self._new_events():
            self._tell(event)
            self._heard.add(event.pk)
        if self.story:
            self.story.look_at_the_outbox()
            self.letters.turn()
        self.limits.turn()
        self._count()

    def _produce(self) -> None:
        if self.seconds is not None and self.age > self.seconds - DRAIN_SECONDS:
            if self.production_ended_at is None:
                self.production_ended_at = timezone.now()
                say("producer", f"stopped after {self.producer.enqueued} jobs; the remaining ones may finish")
            return
        self.producer.turn()

    def _leave_runs_by_hand(self) -> None:
        if self.production_ended_at:
            self.by_hand.end()
        else:
            too_late = self.seconds is not None and self.age > self.seconds - LAST_RUN_BY_HAND_SECONDS
            self.by_hand.turn(enqueues=not too_late)

    def _new_events(self) -> list[JobEvent]:
        newest = max(self._heard, default=0)
        events = JobEvent.objects.filter(pk__gt=newest - LOOK_BACK)
        return [each for each in events if each.pk not in self._heard]

    def _tell(self, event: JobEvent) -> None:
        if self.story and event.job_id == self.story.job_id:
            self.story.hear(event)
        elif event.kind in REMARKABLE:
            reason = f": {event.reason}" if event.reason else ""
            kind = event.get_kind_display().lower()
            say("jobs", f"job {short(event.job_id)} {kind} (run {event.run_epoch}){reason}", event.at)

    def _count(self) -> None:
        if time.monotonic() < self._count_at:
            return
        self._count_at = time.monotonic() + COUNT_SECONDS
        counts = Counter(dict(Job.objects.values_list("status").order_by().annotate(Count("pk"))))
        say(
            "counts",
            ", ".join(
                f"{count} {status_wording.within_sentence(status)}"
                for status, count in sorted(counts.items())
            ),
        )

    def _close(self) -> bool:
        drawn_up = account.draw_up(self.production_ended_at or timezone.now())
        for line in drawn_up.lines():
            say("account", line)
        story_told = self.story is not None and self.story.over
        if not story_told:
            say(
                "account",
                "the story did not finish: no other worker completed the killed worker's job",
            )
        return drawn_up.good and story_told
