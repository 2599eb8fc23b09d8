"""Since when a job waits for a worker: the expression, which an index of the waiting jobs of a queue holds.

A scheduled job has its time there, so that in this index the jobs that wait stand before all that are scheduled.
"""

from __future__ import annotations

from django.db.models.functions import Greatest

# Since its last change, or since the time that it was scheduled for, if that is later. ``since`` of ``jobs.intake.waits``
# says the same of one job.
SINCE = Greatest("updated_at", "not_before")
