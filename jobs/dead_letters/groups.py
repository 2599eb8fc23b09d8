"""Failure groups: found by fingerprint, created when a failure is new."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from django.db import connection
from django.db.models.functions import Now

from jobs.dead_letters.fingerprint import Fingerprint
from jobs.models import FailureGroup
from opsconsole.kit import redaction_version
from opsconsole.kit.row_locks import if_free_in_statement

# A flood of letters of one failure would write its row with every page.
EXACT_TO = timedelta(seconds=1)
# Of a group that others keep locked, only this time is not recorded.
_SEE_AGAIN = """
WITH free AS MATERIALIZED (
    SELECT id FROM failure_groups WHERE fingerprint = ANY(%(fingerprints)s::text[]) ORDER BY id {if_free}
)
UPDATE failure_groups
   SET last_seen_at = statement_timestamp(), title_of = %(version)s
  FROM free WHERE failure_groups.id = free.id
""".replace("{if_free}", if_free_in_statement())


def of(prints: Iterable[Fingerprint]) -> Mapping[str, FailureGroup]:
    """Return the group of each fingerprint by its key, and record that a letter of it was just seen, exact to a second.

    The key was made from the title, so a group that has it was read under a redaction that shows the same.
    """
    wanted = {each.key: each for each in prints}
    groups = FailureGroup.objects.filter(fingerprint__in=wanted)
    groups_by_key = {group.fingerprint: group for group in groups.annotate(db_now=Now())}
    version = redaction_version.current()
    behind = [
        key
        for key, group in groups_by_key.items()
        if group.db_now - group.last_seen_at > EXACT_TO or group.title_of != version
    ]
    if behind:
        with connection.cursor() as cursor:
            cursor.execute(_SEE_AGAIN, {"fingerprints": behind, "version": version})
    if missing := [each for key, each in wanted.items() if key not in groups_by_key]:
        FailureGroup.objects.bulk_create(
            [_new(each) for each in missing],
            ignore_conflicts=True,
        )
        groups_by_key = {group.fingerprint: group for group in groups.annotate(db_now=Now())}
    return groups_by_key


def _new(of: Fingerprint) -> FailureGroup:
    version = redaction_version.current()
    return FailureGroup(fingerprint=of.key, kind=of.kind, title=of.title, title_of=version)
