"""The members of a bulk operation as CSV, streamed page by page: a hundred thousand need no more memory than one."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from django.http import StreamingHttpResponse

from jobs.models import BulkMember, BulkOperation

PAGE = 1_000
COLUMNS = ("subject", "outcome", "sentence", "settled_at", "seen_status", "seen_epoch", "seen_reason")
# A cell that begins so would be run as a formula by a spreadsheet.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(operation: BulkOperation) -> StreamingHttpResponse:
    """A download of all members, in their order."""
    response = StreamingHttpResponse(_lines(operation), content_type="text/csv; charset=utf-8")
    name = f"bulk-{operation.pk}-{operation.action}.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


class _Echo:
    def write(self, text: str) -> str:
        return text


def _lines(operation: BulkOperation) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow(COLUMNS)
    last = 0
    while page := list(operation.members.filter(id__gt=last).order_by("id")[:PAGE]):
        for member in page:
            yield writer.writerow(_cells(member))
        last = page[-1].pk


def _cells(member: BulkMember) -> list[str]:
    settled = member.settled_at.isoformat() if member.settled_at else ""
    epoch = "" if member.seen_epoch is None else str(member.seen_epoch)
    cells = [member.subject, member.outcome, member.sentence, settled]
    return [_harmless(cell) for cell in [*cells, member.seen_status, epoch, member.seen_reason]]


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA) else cell
