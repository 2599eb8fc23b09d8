"""``failure_groups``: groups of dead letters that failed for the same reason, according to their fingerprints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from django.db import models
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from opsconsole.kit import redaction_version

_COUNTED_LETTERS = """
(SELECT count(*) FROM (
    SELECT FROM dead_letters WHERE group_id = failure_groups.id AND state = ANY(%s) LIMIT %s) AS counted)
"""


class FailureGroupQuerySet(models.QuerySet["FailureGroup"]):
    def behind(self) -> Self:
        """Return groups whose titles were read from letters under another redaction."""
        read = self.filter(kind__in=FailureGroup.READ_FROM_LETTERS)
        return read.exclude(title_of=redaction_version.current())

    def with_letters(self, states: Iterable[str], most: int) -> Self:
        """Annotate ``open_letters``: how many letters of the group are in these states, counted up to one above ``most``."""
        return self.annotate(
            open_letters=RawSQL(_COUNTED_LETTERS, ([str(each) for each in states], most + 1))  # noqa: S611 - a constant
        )


class FailureGroup(models.Model):
    class Kind(models.TextChoices):
        JOB_ERROR = "job_error", "error of its job"
        NOT_DELIVERED = "not_delivered", "reason of the service that could not deliver it"
        UNREADABLE = "unreadable", "no worker could read it"
        GIVEN_REASON = "given_reason", "reason given in its body"
        RECEIVES = "receives", "received too often"
        SHAPE = "shape", "shape of its body"

    # Lines of the audit from before name it by its title.
    named_by_number = True

    # Their titles quote values of bodies and attributes; that of a shape has names only.
    READ_FROM_LETTERS = (Kind.NOT_DELIVERED, Kind.UNREADABLE, Kind.GIVEN_REASON)

    fingerprint = models.TextField(unique=True)
    kind = models.TextField(choices=Kind)
    title = models.TextField(help_text="The failure, without the parts that differ between letters.")
    # The redaction under which the title was read; see ``shown_title``.
    title_of = models.TextField(blank=True, db_default="")
    note = models.TextField(blank=True, db_default="", help_text="What is known about this failure.")
    first_seen_at = models.DateTimeField(db_default=Now())
    last_seen_at = models.DateTimeField(db_default=Now())

    objects = FailureGroupQuerySet.as_manager()

    class Meta:
        db_table = "failure_groups"
        verbose_name = "failure group"
        default_permissions = ("view", "change")
        indexes = [models.Index(fields=["-last_seen_at", "-id"], name="failure_groups_newest_idx")]

    def __str__(self) -> str:
        # Lines of the audit keep this text, so it says nothing that was read from a letter.
        return f"failure group {self.pk}"

    @property
    def shown_title(self) -> str:
        """Return the title, or the sentence in its place while it may show what is hidden now."""
        if self.kind in self.READ_FROM_LETTERS:
            return redaction_version.shown(self.title, self.title_of)
        return self.title

    @property
    def public_title(self) -> str:
        """Return the title that may leave the console; titles that were read from a body may not."""
        if self.kind in {
            self.Kind.JOB_ERROR,
            self.Kind.UNREADABLE,
            self.Kind.RECEIVES,
            self.Kind.NOT_DELIVERED,
        }:
            return self.shown_title
        return f"failure group {self.pk} ({self.get_kind_display()})"
