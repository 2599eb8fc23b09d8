"""The demo's dead letters: an unreadable message, those of failed jobs, and their replays."""

from __future__ import annotations

import time
from uuid import UUID

from django.conf import settings
from django.urls import reverse

from jobs.models import DeadLetter, ReplayAttempt
from opsconsole.demo.output import say
from opsconsole.kit import actors
from opsconsole.kit.short_ids import short_id
from opsconsole_worker import sqs

POISON_BODY = "This is no job's message, and <!channel> wakes nobody."
SECONDS_TO_TRY_AGAIN = 10.0
MOST_REPORTED = 12


class Letters:
    """Sends the unreadable message once, and reports dead letters and replays from the database."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.poisoned = False
        self.reported_letters: set[UUID] = set()
        self.reported_replays: set[int] = set()
        self._try_at = 0.0

    def turn(self) -> None:
        if not self.poisoned and time.monotonic() >= self._try_at:
            self._poison()
        for letter in (
            DeadLetter.objects.light()
            .select_related("group")
            .exclude(pk__in=self.reported_letters)[:MOST_REPORTED]
        ):
            self.reported_letters.add(letter.pk)
            page = self.address + reverse("admin:jobs_deadletter_change", args=[letter.pk])
            say(
                "letters",
                f"dead letter {short_id(letter.pk)}: {letter.group.shown_title.rstrip('.')}. Review and replay it at {page}",
            )
        for row in ReplayAttempt.objects.filter(state=ReplayAttempt.State.DONE).order_by("pk"):
            if row.pk not in self.reported_replays:
                self.reported_replays.add(row.pk)
                say(
                    "letters",
                    f"dead letter {short_id(row.letter_id)}: {row.action} by {actors.in_words(row.actor)} done",
                )

    def _poison(self) -> None:
        try:
            sqs.send_raw(settings.QUEUES["default"].url, POISON_BODY)
        except sqs.QueueError as error:
            self._try_at = time.monotonic() + SECONDS_TO_TRY_AGAIN
            say("letters", f"the unreadable message could not be sent yet: {error}")
            return
        self.poisoned = True
        say("letters", "a message that no worker can read was sent to the queue; a worker will set it aside")
