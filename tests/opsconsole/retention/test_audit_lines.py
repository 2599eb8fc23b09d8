"""Tests of the retention of the audit: whole seals of old lines go, through the owner's function, and the seals know it."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from opsconsole.kit.audit_models import AuditDetail, AuditSeal
from opsconsole.kit.kept_changes import OutcomeUnknown
from opsconsole.kit.retention_models import DroppedRows, Removal
from opsconsole.retention import audit_lines
from opsconsole.seals import sealer, verification
from tests.audit_tables import tamper
from tests.chaos import cuts
from tests.opsconsole.seals.test_sealer import line

pytestmark = pytest.mark.django_db

DAY, MOMENT = timedelta(days=1), timedelta(seconds=30)
LIMIT = 3_650 * DAY
CALL = "SELECT delete_audit_lines(%s, 'x', 'somebody')"


def sql(statement: str, parameters: Any = None) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else None


def sealed(ago: timedelta, lines: int = 2) -> list[int]:
    """Write lines that are this old, and seal them."""
    ids = [line().pk for _ in range(lines)]
    for pk in ids:
        tamper(
            f"UPDATE django_admin_log SET action_time = now() - interval '{ago.total_seconds()} s' WHERE id = %s",
            pk,
        )
    sealer.seal()
    return ids


def left() -> set[int]:
    return set(LogEntry.objects.values_list("pk", flat=True))


@pytest.mark.django_db(transaction=True)
def test_batch_of_unknown_outcome_is_not_told_as_refused() -> None:
    old = sealed(LIMIT + DAY)
    with cuts.to_database() as proxy, proxy.as_default():
        proxy.cut((b"delete_audit_lines(", b"COMMIT\0"), answer=True)
        with pytest.raises(OutcomeUnknown):
            audit_lines.delete("test")
        assert proxy.cuts == 1
    assert not left() & set(old)


def test_whole_seals_of_old_lines_go_and_verification_tells_them_from_deleted_ones() -> None:
    old = sealed(LIMIT + DAY) + sealed(LIMIT + MOMENT)
    young = sealed(LIMIT - MOMENT)
    assert verification.verify().breaks == []

    run = audit_lines.delete("test")

    assert (run.rows, run.why) == (4, "")
    assert not left() & set(old) and left() >= set(young)
    assert not AuditDetail.objects.filter(pk__in=old).exists()
    assert [(each.name, each.row_count) for each in DroppedRows.objects.all()] == [("seals 1 to 2", 4)]
    assert Removal.objects.get().subject == "audit lines"
    assert LogEntry.objects.filter(change_message__startswith="Deleted 4 lines of the audit").count() == 1
    sealer.seal()
    whole = verification.verify()
    assert whole.breaks == [] and whole.dropped == 4
    assert audit_lines.delete("test").rows == 0
    # The triggers are on again.
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        sql("DELETE FROM django_admin_log")
    tamper("DELETE FROM django_admin_log WHERE id = %s", young[0])
    assert {each.kind for each in verification.verify().breaks} == {"deleted"}


def test_lines_stay_that_are_not_as_they_were_sealed() -> None:
    [altered, _] = sealed(LIMIT + DAY)
    tamper("UPDATE django_admin_log SET change_message = 'x' WHERE id = %s", altered)

    run = audit_lines.delete("test")

    assert run.rows == 0 and "not as they were sealed" in run.why and altered in left()


def test_batches_are_bounded_and_a_seal_with_a_young_line_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        sealed(LIMIT + DAY)
    mixed = sealed(LIMIT + DAY)
    tamper("UPDATE django_admin_log SET action_time = now() WHERE id = %s", mixed[1])
    monkeypatch.setattr(audit_lines, "LINES_PER_BATCH", 3)
    assert audit_lines.delete("test").rows == 6
    assert DroppedRows.objects.count() == 3 and left() >= set(mixed)


def test_setting_and_what_the_owner_stored_both_count(settings: Settings) -> None:
    sealed(400 * DAY)
    settings.OPSCONSOLE_KEEP_AUDIT_DAYS = 365
    assert audit_lines.delete("test").rows == 0
    sql(f"COMMENT ON FUNCTION {audit_lines.FUNCTION} IS 'opsconsole keeps 1 days'")
    # The function keeps them for a year whatever is stored.
    with pytest.raises(DatabaseError, match="kept for 365 days"), transaction.atomic():
        young = sealed(364 * DAY)
        newest = AuditSeal.objects.filter(source="audit").order_by("-number")[0]
        assert young
        sql(CALL, [[newest.number]])
    assert audit_lines.delete("test").rows == 2


def test_role_of_the_console_can_misuse_nothing() -> None:
    role = f"runtime_{os.getpid()}"
    sealed(LIMIT - DAY)
    sealed(LIMIT + DAY)
    seals = list(AuditSeal.objects.filter(source="audit").order_by("number").values_list("number", flat=True))
    sql(
        f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA public, opsconsole TO {role};"
        f"GRANT EXECUTE ON FUNCTION {audit_lines.FUNCTION} TO {role}; SET LOCAL ROLE {role}"
    )
    for message, given in (
        ("kept for 3650 days", [seals[0]]),
        ("kept for 3650 days", seals),
        ("0 lines", [999_999]),
        ("0 lines", []),
    ):
        with pytest.raises(DatabaseError, match=message), transaction.atomic():
            sql(CALL, [given])
    with pytest.raises(DatabaseError, match="must be owner"), transaction.atomic():
        sql("ALTER TABLE django_admin_log DISABLE TRIGGER ALL")
    with pytest.raises(DatabaseError, match="must be owner"), transaction.atomic():
        sql(f"COMMENT ON FUNCTION {audit_lines.FUNCTION} IS 'opsconsole keeps 1 days'")
    sql("RESET ROLE")


def test_record_whose_line_is_gone_by_now_is_no_break(settings: Settings) -> None:
    settings.OPSCONSOLE_KEEP_AUDIT_DAYS = 365
    sql(f"COMMENT ON FUNCTION {audit_lines.FUNCTION} IS 'opsconsole keeps 365 days'")
    sealed(500 * DAY)
    audit_lines.delete("test")
    tamper("UPDATE retention_drops SET at = now() - interval '400 days'")
    quoting = LogEntry.objects.get(change_message__startswith="Deleted 2 lines").pk
    tamper("UPDATE django_admin_log SET action_time = now() - interval '400 days' WHERE id = %s", quoting)
    sealer.seal()
    line()
    assert audit_lines.delete("test").rows == 1
    sealer.seal()
    assert quoting not in left() and verification.verify().breaks == []
    assert LogEntry.objects.filter(action_time__lt=Now()).exists()
