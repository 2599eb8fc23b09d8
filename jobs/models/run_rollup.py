"""``run_rollups``: how the runs that ended in a time waited, ran and ended; ``run_rollup_state``: what was counted so far."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from opsconsole.kit.removals import kept

# Where more values than are kept by name share a row.
OTHERS = "(all others)"
# The lengths of the rollups in minutes, and for how long a page shows them: each range of the page has one length, and
# shows the period before, too.
FIVE_MINUTES, HOUR, SIX_HOURS, DAY = 5, 60, 360, 1_440
SHOWN_FOR = {
    FIVE_MINUTES: timedelta(hours=3),
    HOUR: timedelta(days=3),
    SIX_HOURS: timedelta(days=15),
    DAY: timedelta(days=62),
}


class RunRollupQuerySet(models.QuerySet["RunRollup"]):
    def expired(self) -> Self:
        """Return what no page shows any more."""
        lengths = (
            Q(minutes=minutes, start__lt=Now() - min(shown, kept("FIGURES")))
            for minutes, shown in SHOWN_FOR.items()
        )
        return self.filter(Q(*lengths, _connector=Q.OR))


class RunRollup(models.Model):
    """The runs of one value of one dimension that ended within so many minutes.

    ``waits`` and ``runs`` are histograms (``opsconsole.trends.histogram``): the number of runs per bucket. Only
    ``opsconsole.trends.rollup`` writes them.
    """

    class Dimension(models.TextChoices):
        ALL = "all", "all runs"
        QUEUE = "queue"
        PRIORITY = "priority"
        CUSTOMER = "customer"
        WORKER = "worker"

    minutes = models.SmallIntegerField()
    start = models.DateTimeField()
    dimension = models.TextField(choices=Dimension)
    value = models.TextField(db_default="", blank=True)
    completed = models.IntegerField(db_default=0)
    failed = models.IntegerField(db_default=0)
    retried = models.IntegerField(db_default=0)
    lost = models.IntegerField(db_default=0)
    waits = models.JSONField(db_default={})
    runs = models.JSONField(db_default={})
    # Between them are the events of all these runs, so that the list of a bar reads nothing else.
    first_event = models.BigIntegerField()
    last_event = models.BigIntegerField()

    objects = RunRollupQuerySet.as_manager()

    class Meta:
        db_table = "run_rollups"
        verbose_name = "rollup of runs"
        verbose_name_plural = "rollups of runs"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["minutes", "dimension", "start", "value"], name="run_rollups_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.dimension} {self.value} from {self.start:%Y-%m-%d %H:%M} for {self.minutes} min"


class RunRollupState(models.Model):
    """How far the rollups have counted. One row (``pk`` 1), written in the transaction that counts."""

    id = models.SmallIntegerField(primary_key=True, db_default=1)
    seal = models.BigIntegerField(
        db_default=0, help_text="The last seal of the timelines whose events are counted."
    )
    counted_from = models.DateTimeField(null=True)
    counted_until = models.DateTimeField(
        null=True, help_text="Every event before it that is visible is counted."
    )
    turned_at = models.DateTimeField(null=True, help_text="When it was last looked for events.")

    class Meta:
        db_table = "run_rollup_state"
        default_permissions = ()
        constraints = [models.CheckConstraint(condition=Q(id=1), name="run_rollup_state_one_row")]

    def __str__(self) -> str:
        return f"counted until {self.counted_until}"
