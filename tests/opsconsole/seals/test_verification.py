"""What the seals show: everything that the owner of the tables can do behind the triggers' back."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from alerts.models import Alert
from jobs.models import BulkEvent, BulkOperation, JobEvent, ReplayAttempt
from opsconsole.checks import check_seals
from opsconsole.kit import newest_seal
from opsconsole.kit.audit_models import AuditSeal, SealCheck
from opsconsole.seals import chain, checking, sealer, strangers, tasks, verification
from tests.audit_tables import tamper
from tests.factories import dead_letter
from tests.opsconsole.seals.test_sealer import event, line

pytestmark = pytest.mark.django_db


@pytest.fixture
def sealed() -> list[int]:
    """Seal an old line, then two turns of lines and events; return the ids of the lines."""
    lines = [line().pk]
    sealer.seal()
    for _ in range(2):
        lines += [line().pk, line().pk]
        for _ in range(3):
            event()
        sealer.seal()
    assert verification.verify().breaks == []
    return lines


def kinds() -> set[str]:
    return {each.kind for each in verification.verify().breaks}


def test_links_are_followed_across_pages(sealed: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "PAGE", 2)
    assert kinds() == set()
    [third] = AuditSeal.objects.filter(number=3)
    tamper("DELETE FROM audit_seals WHERE number = 3")
    missing = [each for each in verification.verify().breaks if each.kind == "seal missing"]
    assert [each.seal for each in missing] == [third.number]


def test_seal_before_the_first_one_is_found(sealed: list[int]) -> None:
    tamper(
        "INSERT INTO audit_seals (number, previous, hash, source, existing, ids, row_count, content, sealed_at, first_id, last_id)"
        " SELECT 0, 'none', repeat('0', 64), source, existing, ids, row_count, content, sealed_at, first_id, last_id"
        "   FROM audit_seals WHERE number = 1"
    )
    assert "chain broken" in kinds()


AUDIT_CASES: dict[str, tuple[str, set[str]]] = {
    "altered": ("UPDATE django_admin_log SET change_message = 'Nothing.' WHERE id = %s", {"altered"}),
    "another user": ("UPDATE django_admin_log SET user_id = user_id + 1 WHERE id = %s", {"altered"}),
    "deleted": ("DELETE FROM django_admin_log WHERE id = %s", {"deleted"}),
    "reason added": ("INSERT INTO audit_details (entry_id, reason) VALUES (%s, 'because')", {"altered"}),
}


@pytest.mark.parametrize("name", AUDIT_CASES)
def test_changed_lines_are_found(sealed: list[int], name: str) -> None:
    statement, expected = AUDIT_CASES[name]
    tamper(statement, sealed[2])
    found = verification.verify()
    assert {each.kind for each in found.breaks} == expected
    assert str(sealed[2]) in found.breaks[0].sentence
    assert {each.kind for each in verification.verify_recent().breaks} == expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE job_events SET reason = 'x' WHERE id = (SELECT min(id) FROM job_events)", {"altered"}),
        ("DELETE FROM job_events WHERE id = (SELECT min(id) + 1 FROM job_events)", {"deleted"}),
        (
            (
                "INSERT INTO job_events (id, job_id, at, kind, actor)"
                " SELECT min(id), gen_random_uuid(), min(at) - interval '1 year', 'claimed', 'x' FROM job_events"
            ),
            {"inserted"},
        ),
        (
            "INSERT INTO job_events (id, job_id, kind, actor) VALUES (-5, gen_random_uuid(), 'claimed', 'x')",
            {"inserted"},
        ),
        ("TRUNCATE job_events", {"deleted"}),
    ],
)
def test_changed_events_are_found(sealed: list[int], statement: str, expected: set[str]) -> None:
    tamper(statement)
    assert kinds() == expected


LEDGER_CASES = {
    "UPDATE bulk_events SET reason = 'x'": {"altered"},
    "DELETE FROM bulk_events": {"deleted"},
    "INSERT INTO bulk_events (id, operation_id, kind, actor) SELECT -1, operation_id, 'begun', 'x' FROM bulk_events": {
        "inserted"
    },
    "UPDATE dead_letter_ledger SET actor = 'operator:eve'": {"altered"},
    "UPDATE dead_letter_ledger SET edited_body = ''": {"altered"},
    "DELETE FROM dead_letter_ledger": {"deleted"},
    "UPDATE dead_letter_ledger SET id = -1": {"deleted", "inserted"},
}


def test_changed_ledgers_are_found() -> None:
    """Seal a decision about a bulk operation and one about a letter, then try one change after the other."""
    operation = BulkOperation.objects.create(action="requeue", scope="all", actor="operator:ada")
    BulkEvent.objects.create(operation=operation, kind="begun", actor="operator:ada", reason="because")
    wanted = {"action": "replay", "state": "wanted", "actor": "operator:ada", "reason": "because"}
    attempt = ReplayAttempt.objects.create(letter=dead_letter(), **wanted)
    assert sealer.seal().rows == 2
    # Its steps are filled in as it goes on.
    attempt.state, attempt.sent_at, attempt.ended_at, attempt.outcome = "done", Now(), Now(), "Sent."
    attempt.save()
    assert kinds() == set()
    for statement, expected in LEDGER_CASES.items():
        with transaction.atomic():
            tamper(statement)
            assert kinds() == expected, statement
            transaction.set_rollback(True)
    assert kinds() == set()


@pytest.mark.parametrize("is_sealed", [False, True])
def test_line_with_an_earlier_date_is_found(sealed: list[int], is_sealed: bool) -> None:
    tamper(
        "INSERT INTO django_admin_log (action_time, user_id, object_repr, action_flag, change_message)"
        " SELECT now() - interval '3 days', user_id, 'x', 2, 'Requeued.' FROM django_admin_log LIMIT 1"
    )
    if is_sealed:
        sealer.seal()
    [found] = verification.verify().breaks
    assert found.kind == "inserted" and "Inserted into the past" in found.sentence
    assert kinds() == {each.kind for each in verification.verify_recent().breaks}


def test_line_in_the_place_of_a_closed_gap_is_found(sealed: list[int]) -> None:
    tamper(
        "INSERT INTO django_admin_log (id, action_time, user_id, object_repr, action_flag, change_message)"
        " SELECT -1, now(), user_id, 'x', 2, 'Requeued.' FROM django_admin_log LIMIT 1"
    )
    [found] = verification.verify().breaks
    assert "no seal covers audit row -1" in found.sentence


def test_event_that_shares_an_id_is_found_at_every_place_of_a_page(
    sealed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "ROWS_PER_PAGE", 2)
    tamper(
        "INSERT INTO job_events (id, job_id, at, kind, actor)"
        " SELECT min(id) + 1, gen_random_uuid(), max(at) + interval '1 day', 'claimed', 'x' FROM job_events"
    )
    assert kinds() == {"inserted"}


@pytest.mark.parametrize("number", [2**63 - 2, 2**63 - 1])
def test_event_with_the_highest_id_stops_neither_seals_nor_their_verification(
    sealed: list[int], number: int
) -> None:
    tamper(
        "INSERT INTO job_events (id, job_id, kind, actor) VALUES (%s, gen_random_uuid(), 'claimed', 'x')",
        number,
    )
    for _ in range(2):
        sealer.seal()
    line()
    assert sealer.seal().rows == 1
    assert kinds() == ({"inserted"} if number > sealer.END else set())


SEAL_CASES: dict[str, tuple[str, set[str]]] = {
    "removed": ("DELETE FROM audit_seals WHERE number = 3", {"seal missing", "inserted"}),
    "altered": ("UPDATE audit_seals SET content = 'x' WHERE number = 3", {"seal altered", "altered"}),
    "time": (
        "UPDATE audit_seals SET sealed_at = now() - interval '1 day' WHERE number = 3",
        {"seal altered"},
    ),
    "span": ("UPDATE audit_seals SET last_id = last_id + 1 WHERE number = 3", {"seal altered"}),
    "ids": ("UPDATE audit_seals SET ids = 'x' WHERE number = 3", {"seal altered", "inserted"}),
    "all": ("TRUNCATE audit_seals", {"seal missing", "inserted"}),
}


@pytest.mark.parametrize("name", SEAL_CASES)
def test_changed_seals_are_found(sealed: list[int], name: str) -> None:
    checking.check_next()
    statement, expected = SEAL_CASES[name]
    tamper(statement)
    assert kinds() == expected


def test_cut_end_is_found_by_a_seal_that_was_kept_elsewhere(sealed: list[int]) -> None:
    anchor = newest_seal.anchor()
    assert verification.verify(anchor=anchor).breaks == verification.verify(anchor=anchor[-64:]).breaks == []
    last = AuditSeal.objects.order_by("-number")[0]
    tamper("DELETE FROM job_events WHERE id BETWEEN %s AND %s", last.first_id, last.last_id)
    tamper("DELETE FROM audit_seals WHERE number = %s", last.number)
    assert kinds() == set(), "the rest is whole"
    [found] = verification.verify(anchor=anchor).breaks
    assert found.kind == "anchor missing"
    assert verification.verify(anchor="no-number:" + anchor).break_count == 1


@pytest.mark.parametrize("events", ["9999999999", "-1", "99999999999999999999"])
def test_events_that_do_not_exist_yet_are_not_left_out(sealed: list[int], events: str) -> None:
    with pytest.raises(CommandError, match=r"There is no event|argument --events-from"):
        call_command("verify_audit", f"--events-from={events}", stdout=StringIO())
    assert not SealCheck.objects.filter(events_from__gt=0).exists()


def test_dropped_month_can_be_left_out(sealed: list[int]) -> None:
    first = AuditSeal.objects.filter(source="timeline").order_by("number")[0]
    tamper("DELETE FROM job_events WHERE id <= %s", first.last_id)
    assert kinds() == {"deleted"}
    assert verification.verify(events_from=first.last_id + 1).breaks == []
    checking.check_next()
    assert [each.kind for each in checking.known_breaks()] == ["deleted"]
    call_command("verify_audit", "--events-from", str(first.last_id + 1), stdout=StringIO())
    assert "out of the checks of seals" in LogEntry.objects.latest("id").change_message
    for _ in range(2):
        checking.check_next()
        assert checking.known_breaks() == []
        assert check_seals(["default"]) == []
    tamper("UPDATE job_events SET reason = 'x' WHERE id = (SELECT max(id) FROM job_events)")
    checking.check_next()
    assert [each.kind for each in checking.known_breaks()] == ["altered"]


def test_check_tells_that_nothing_seals_any_more(sealed: list[int]) -> None:
    line()
    assert check_seals(["default"]) == []
    tamper(
        "UPDATE django_admin_log SET action_time = now() - interval '11 minutes' WHERE id > %s", sealed[-1]
    )
    assert "opsconsole.W011" in {each.id for each in check_seals(["default"])}
    sealer.seal()
    assert "opsconsole.W011" not in {each.id for each in check_seals(["default"])}


def test_seal_over_the_end_of_a_dropped_month_is_left_out(sealed: list[int]) -> None:
    first = AuditSeal.objects.filter(source="timeline").order_by("number")[0]
    tamper("DELETE FROM job_events WHERE id = %s", first.first_id)
    assert verification.verify(events_from=first.first_id + 1).breaks == []


REFUSED = [
    "TRUNCATE django_admin_log CASCADE",
    "TRUNCATE job_events",
    "TRUNCATE audit_seals",
    "TRUNCATE audit_details",
    "TRUNCATE bulk_events",
    "TRUNCATE dead_letter_ledger",
    "UPDATE audit_seals SET hash = 'x'",
    "DELETE FROM audit_seals",
    "UPDATE django_admin_log SET change_message = 'x'",
    "DELETE FROM django_admin_log",
]


@pytest.mark.parametrize("statement", REFUSED)
def test_triggers_refuse_also_the_owner_and_superusers(sealed: list[int], statement: str) -> None:
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(statement)
    assert kinds() == set()


def test_every_partition_refuses_truncate() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'job_events'::regclass"
        )
        names = [name for (name,) in cursor.fetchall()]
        cursor.execute(f"DROP TABLE {max(names)}" if max(names) != "job_events_default" else "SELECT 1")
        cursor.execute("SELECT create_job_event_partitions(3)")
        for name in names:
            with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
                cursor.execute(f"TRUNCATE {name}")


def test_database_writes_the_time_of_a_line() -> None:
    with connection.cursor() as cursor:
        user = User.objects.create(username="ada").pk
        cursor.execute(
            "INSERT INTO django_admin_log (action_time, user_id, object_repr, action_flag, change_message)"
            " VALUES ('2001-01-01', %s, 'x', 2, 'x') RETURNING action_time > now() - interval '1 minute'",
            [user],
        )
        assert cursor.fetchone() == (True,)


def test_command_tells_and_answers_with_its_exit_code(sealed: list[int]) -> None:
    output = StringIO()
    call_command("verify_audit", "--json", stdout=output)
    told = json.loads(output.getvalue())
    assert told["intact"] and told["seals"] == 5 and told["rows"] == 11
    assert f"{told['newest']['number']}:{told['newest']['hash']}" == newest_seal.anchor()
    tamper("DELETE FROM django_admin_log WHERE id = %s", sealed[0])
    output = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("verify_audit", stdout=output)
    assert ended.value.code == 1
    assert f"audit row {sealed[0]}" in output.getvalue() and "audit-broken.md" in output.getvalue()
    with pytest.raises(SystemExit):
        call_command("verify_audit", "--json", "--anchor", "ab" * 32, stdout=(output := StringIO()))
    assert {each["kind"] for each in json.loads(output.getvalue())["breaks"]} == {"deleted", "anchor missing"}


@pytest.mark.parametrize("mistyped", ["812:ab12", "nonsense", "no-number:" + "ab" * 32, "ab" * 32 + "\n7"])
def test_mistyped_anchor_is_no_broken_audit(sealed: list[int], mistyped: str) -> None:
    for words in ((), ("--folder", "exported")):
        with pytest.raises(CommandError, match="Nothing was done") as refused:
            call_command("verify_audit", "--anchor", mistyped, *words)
        assert refused.value.returncode == 2
    assert not Alert.objects.exists()


@pytest.mark.parametrize("kept", ["seal {}\n", " {} ", "{}"])
def test_anchor_is_read_as_it_was_kept(sealed: list[int], kept: str) -> None:
    call_command(
        "verify_audit", "--anchor", kept.format(newest_seal.anchor().upper()), stdout=(output := StringIO())
    )
    assert output.getvalue().startswith("5 seals and 11 rows were read.")


def test_break_fires_an_alert_and_is_on_the_page_and_in_the_deploy_check(
    sealed: list[int], operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = reverse("admin:admin_logentry_changelist")
    line()
    text = operator.get(page).content.decode()
    assert "Sealed up to" in text and "Not sealed yet: 1 line of the audit, 0 events" in text
    assert check_seals(databases=["default"]) == []
    # Not among the newest.
    monkeypatch.setattr(checking, "NEWEST_SEALS", 1)
    message = LogEntry.objects.get(pk=sealed[0]).change_message
    tamper("UPDATE django_admin_log SET change_message = 'x' WHERE id = %s", sealed[0])
    tasks.seal()
    alert = Alert.objects.open().get(fingerprint=checking.ALERT)
    assert alert.severity == "critical" and f"audit row {sealed[0]}" in alert.summary
    assert "changed behind the console" in operator.get(page).content.decode()
    [error] = check_seals(databases=["default"])
    assert error.id == "opsconsole.E031" and str(sealed[0]) in error.msg
    tamper("UPDATE django_admin_log SET change_message = %s WHERE id = %s", message, sealed[0])
    tasks.seal()
    assert checking.known_breaks() == []
    assert Alert.objects.open().get(fingerprint=checking.ALERT).clear_since


def test_check_reads_all_seals_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "SEALS_PER_TURN", 2)
    monkeypatch.setattr(checking, "NEWEST_SEALS", 1)
    for _ in range(5):
        event()
        sealer.seal()
    tamper("DELETE FROM job_events WHERE id = (SELECT min(id) FROM job_events)")
    reads: list[int] = []
    for _ in range(3):
        reads.append(SealCheck.objects.get_or_create(pk=1)[0].next_seal)
        checking.check_next()
    assert reads == [1, 3, 5]
    assert SealCheck.objects.get().next_seal == 1
    assert [each.kind for each in checking.known_breaks()] == ["deleted"]


def test_memory_does_not_grow_with_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are read one by one, in whatever sizes."""
    monkeypatch.setattr(verification, "ROWS_PER_PAGE", 2)
    monkeypatch.setattr(strangers, "WINDOW", 10)
    for _ in range(17):
        event()
        line()
    sealer.seal()
    assert verification.verify().breaks == []
    tamper("DELETE FROM job_events WHERE id = (SELECT max(id) - 1 FROM job_events)")
    [found] = verification.verify().breaks
    assert found.kind == "deleted" and JobEvent.objects.count() == 16


def test_unmigrated_database_and_no_database_are_not_asked() -> None:
    assert check_seals(databases=None) == []
    assert check_seals(databases=[]) == []
