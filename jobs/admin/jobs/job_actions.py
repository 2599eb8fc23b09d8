"""Requeue, cancel and release: the preview and the result per job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models.functions import Now
from django.http import Http404

from jobs.admin import previewed_actions
from jobs.admin.jobs import progress_notes
from jobs.admin.jobs.progress_notes import DoneByRun
from jobs.bulk import job_actions
from jobs.models import Job
from jobs.operations import job_operations
from jobs.operations.steps import JobAction, Outcome, Record, Step
from jobs.runs.timeline import Actor

MOST_JOBS = previewed_actions.MOST
NOTES_SHOWN = 5


@dataclass(frozen=True)
class JobLine:
    """One job on the preview or result page."""

    job: Job
    sentence: str
    done_before: Sequence[DoneByRun] = ()


class PlannedJobs(previewed_actions.PlannedAdmin[JobAction, Job]):
    choices = JobAction
    words = previewed_actions.words_of(job_actions.KINDS)
    kept = job_operations.KEPT

    def plan(self, action: JobAction, ids: Sequence[UUID]) -> Sequence[Step]:
        return job_operations.plan(action, ids)

    def carry_out(
        self, steps: Sequence[Step], actor: Actor, reason: str, record: Record
    ) -> Sequence[Outcome]:
        return job_operations.carry_out(steps, actor, reason, record=record)

    def rows(self, ids: Sequence[UUID]) -> Mapping[UUID, Job]:
        return Job.objects.defer("payload").annotate(db_now=Now()).in_bulk(ids)

    def lines(self, rows: Mapping[UUID, Job], entries: Sequence[Step | Outcome]) -> Sequence[JobLine]:
        """Return the lines, with the notes of earlier runs for jobs that will run again."""
        again = [step.job_id for step in entries if isinstance(step, Step) and step.will]
        notes = progress_notes.of_jobs(again, shown=NOTES_SHOWN)
        return [JobLine(rows[each.job_id], each.sentence, notes.get(each.job_id, ())) for each in entries]

    def asked_for(self, ids: Sequence[UUID]) -> Sequence[UUID]:
        if len(ids) > MOST_JOBS:
            raise Http404
        return ids
