"""The page Attach: the proposal of a mapping for this database, beside rows and what the console would make of them.

It shows what ``inspect_database --propose`` prints, and saves nothing: a mapping is a file that all processes read at start.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from jobs.dead_letters import redaction
from jobs.inspection.proposal import Proposal, propose, reading, render, unsupported
from jobs.inspection.proposal.sample_rows import sample_rows
from jobs.models import Attachment
from opsconsole.kit.page_permissions import may_see
from opsconsole.kit.read_only_admin import OnePageAdmin
from opsconsole.kit.storable import plain_text

# A page waits for no more than this; the command reads for longer.
READ_SECONDS = 5
MOST_COLUMNS, LONGEST_SHOWN = 8, 80


@admin.register(Attachment)
class AttachmentAdmin(OnePageAdmin):
    def show(self, request: HttpRequest) -> HttpResponse:
        # What is not attached serves no page.
        facts = reading.read(seconds=READ_SECONDS, attached=True)
        proposal = propose(facts.tables)
        sees_jobs = may_see(request.user, "jobs_job") and may_see(request.user, "jobs_workerheartbeat")
        context = {
            "title": "Attach",
            "proposal": proposal,
            "text": "" if proposal.refused else render(proposal),
            "unsupported": unsupported(proposal),
            "unread": facts.unread,
            "sees_jobs": sees_jobs,
            "rows": _rows(proposal, facts.read_at) if sees_jobs else [],
        }
        return self.render(request, "admin/jobs/attach.html", context)


def _rows(proposal: Proposal, now: datetime) -> list[dict[str, Any]]:
    return [{"row": row, "others": _shown(row.others)} for row in sample_rows(proposal, now)]


def _shown(values: Mapping[str, str | None]) -> list[tuple[str, str]]:
    """Return some values redacted and cut. The row counts as one document: a path such as ``$.token`` hides that column."""
    present = {name: value for name, value in values.items() if value not in (None, "")}
    shown = redaction.redact_row(present)
    return [(name, _cut(plain_text(str(value)))) for name, value in list(shown.items())[:MOST_COLUMNS]]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
