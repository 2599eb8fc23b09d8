"""``run_progress``: how far each run is, as its handler last said. Workers overwrite the row of their run."""

from __future__ import annotations

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from jobs.models.job import Job
from opsconsole.kit import job_ids
from opsconsole.kit.bounded_columns import BoundedText
from opsconsole.kit.removals import kept


class RunProgressQuerySet(models.QuerySet["RunProgress"]):
    def expired(self) -> RunProgressQuerySet:
        """Return what retention deletes: rows that began long ago, but for those of runs that are still going on."""
        goes_on = Job.objects.running().filter(pk=OuterRef("job_id"), run_epoch=OuterRef("run_epoch"))
        return self.filter(began_at__lt=Now() - kept("PROGRESS")).exclude(Exists(goes_on))


class RunProgress(models.Model):
    """The last progress of a run. ``began_at`` never changes, so that no index does when the others do."""

    job_id = job_ids.reference()
    run_epoch = models.IntegerField()
    percent = models.DecimalField(max_digits=4, decimal_places=1, null=True)
    text = BoundedText(db_default="")
    began_at = models.DateTimeField(db_default=Now())
    at = models.DateTimeField(db_default=Now())

    objects = RunProgressQuerySet.as_manager()

    class Meta:
        db_table = "run_progress"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["job_id", "run_epoch"], name="run_progress_once"),
            models.CheckConstraint(condition=Q(percent__range=(0, 100)), name="run_progress_percent"),
        ]
        indexes = [models.Index(fields=["began_at"], name="run_progress_began_idx")]

    def __str__(self) -> str:
        return f"{self.job_id} (run {self.run_epoch})"
