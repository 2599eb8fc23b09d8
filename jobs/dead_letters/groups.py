"""Failure groups: found by fingerprint, created when a failure is new."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection

from jobs.dead_letters.fingerprint import Fingerprint
from jobs.models import FailureGroup
from opsconsole.kit import redaction_version
from opsconsole.kit.row_locks import if_free_in_statement

# Of a group that others keep locked, only this time is not recorded.
_SEE_AGAIN = """
WITH free AS MATERIALIZED (
    SELECT id FROM failure_groups WHERE fingerprint = ANY(%(fingerprints)s::text[]) ORDER BY id {if_free}
)
UPDATE failure_groups
   SET last_seen_at = statement_timestamp(), title_of = %(version)s
  FROM free WHERE failure_groups.id = free.id
""".replace("{if_free}", if_free_in_statement())


def of(prints: Iterable[Fingerprint]) -> dict[str, FailureGroup]:
    """Return the group of each fingerprint by its key, and record that a letter of it was just seen.

    The key was made from the title, so a group that has it was read under a redaction that shows the same.
    """
    wanted = {each.key: each for each in prints}
    groups = FailureGroup.objects.filter(fingerprint__in=wanted)
    with connection.cursor() as cursor:
        cursor.execute(_SEE_AGAIN, {"fingerprints": list(wanted), "version": redaction_version.current()})
    groups_by_key = {group.fingerprint: group for group in groups}
    if missing := [each for key, each in wanted.items() if key not in groups_by_key]:
        FailureGroup.objects.bulk_create(
            [_new(each) for each in missing],
            ignore_conflicts=True,
        )
        groups_by_key = {group.fingerprint: group for group in groups.all()}
    return groups_by_key


def _new(of: Fingerprint) -> FailureGroup:
    version = redaction_version.current()
    return FailureGroup(fingerprint=of.key, kind=of.kind, title=of.title, title_of=version)
