"""Tests of months of the timeline that are dropped: exported first, judged by the owner's function, and known to the seals."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.db import DatabaseError, connection, connections, transaction
from pytest_django.fixtures import Settings

from jobs.models import JobEvent
from opsconsole import database_roles
from opsconsole.kit.kept_changes import OutcomeUnknown
from opsconsole.kit.retention_models import DroppedRows, Removal
from opsconsole.leaving import export
from opsconsole.retention import archive, limits, month_drop, month_export, months
from opsconsole.seals import exported, sealer, verification
from opsconsole_worker.sqs import buckets
from tests.audit_tables import tamper
from tests.chaos import cuts
from tests.databases import REPOSITORY
from tests.other_sessions import other_session

pytestmark = pytest.mark.django_db

NAME, FILE = "job_events_2020_01", "job_events_2020_01.jsonl.gz"
BEGIN, LAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 31, 23, 59, 59, 999999, tzinfo=UTC)
CREATE = f"""
CREATE TABLE {NAME} (LIKE job_events INCLUDING ALL EXCLUDING IDENTITY);
ALTER TABLE job_events ATTACH PARTITION {NAME} FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2020-02-01 00:00+00');
"""
CALL = "SELECT drop_job_event_month(%s, %s, %s, 'x', '', '{}', 'somebody')"


def sql(statement: str, parameters: Any = None) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else None


def event(at: datetime | None = None) -> int:
    given = {"at": at} if at else {}
    return JobEvent.objects.create(
        job_id=uuid4(),
        kind="completed",
        actor="x",
        reason="é\n\ud83d".encode("utf-8", "replace").decode(),
        **given,
    ).pk


def exists() -> bool:
    return bool(sql("SELECT to_regclass(%s) IS NOT NULL", [NAME])[0][0])


@pytest.fixture
def month(settings: Settings, tmp_path: Path) -> list[int]:
    """Create an old month with three sealed events, whose seal also covers events of today; return its ids."""
    settings.OPSCONSOLE_ARCHIVE = str(tmp_path)
    sql(CREATE)
    ids = [event(BEGIN), event(), event(LAST), event(), event(BEGIN + timedelta(days=3))]
    sealer.seal()
    assert verification.verify().breaks == []
    return [ids[0], ids[2], ids[4]]


@pytest.fixture
def _real(transactional_db: None, month: list[int]) -> Iterator[None]:
    yield
    sql(f"DROP TABLE IF EXISTS {NAME}")


def drop() -> month_drop.Result:
    [result] = month_drop.drop_due("test")
    return result


def lines(file: Path) -> list[int]:
    with gzip.open(file, "rt") as opened:
        return [int(json.loads(line)["id"]) for line in opened]


def test_month_is_exported_dropped_and_told(month: list[int], tmp_path: Path) -> None:
    assert drop().sentence == "3 events dropped."

    assert not exists() and JobEvent.objects.count() == 2
    assert lines(tmp_path / FILE) == sorted(month) and [path.name for path in tmp_path.iterdir()] == [FILE]
    record = DroppedRows.objects.get()
    assert (record.name, record.row_count, record.file) == (NAME, 3, str(tmp_path / FILE))
    line = LogEntry.objects.get(change_message__startswith=f"Dropped {NAME}: 3 events")
    assert record.content in line.change_message and "SHA-256" in line.change_message
    assert Removal.objects.get().rows == 3
    assert list(month_drop.drop_due("test")) == []


@pytest.mark.usefixtures("_real")
def test_month_of_unknown_outcome_is_not_told_as_kept() -> None:
    with cuts.to_database() as proxy, proxy.as_default():
        proxy.cut((b"drop_job_event_month('", b"COMMIT\0"), answer=True)
        with pytest.raises(OutcomeUnknown):
            drop()
        assert proxy.cuts == 1

    assert not exists() and DroppedRows.objects.get().row_count == 3
    assert list(month_drop.drop_due("test")) == []


def test_seals_tell_what_retention_dropped_from_what_somebody_deleted(month: list[int]) -> None:
    drop()
    sealer.seal()
    whole = verification.verify()
    assert whole.breaks == [] and whole.dropped == 3
    assert verification.verify_recent().breaks == []

    kept = JobEvent.objects.order_by("pk").values_list("pk", flat=True)[0]
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        tamper("UPDATE job_events SET reason = 'x' WHERE id = %s", kept)
        assert {each.kind for each in verification.verify().breaks} == {"altered"}
        raise ZeroDivisionError
    tamper("DELETE FROM job_events WHERE id = %s", kept)
    assert {each.kind for each in verification.verify().breaks} == {"deleted"}


def test_record_that_the_audit_does_not_quote_is_found(month: list[int]) -> None:
    kept = [pk for pk in JobEvent.objects.values_list("pk", flat=True) if pk not in month]
    tamper("DELETE FROM job_events WHERE id = %s", kept[0])
    DroppedRows.objects.create(
        source="timeline",
        name="job_events_2019_12",
        ids=str(kept[0]),
        row_count=1,
        content="",
        file="",
        by="x",
    )
    assert "drop untold" in {each.kind for each in verification.verify().breaks}


def test_month_stays_until_an_archive_is_chosen_and_where_it_is_not_as_sealed(
    month: list[int], settings: Settings, tmp_path: Path
) -> None:
    chosen, settings.OPSCONSOLE_ARCHIVE = settings.OPSCONSOLE_ARCHIVE, ""
    assert drop().waits
    settings.OPSCONSOLE_ARCHIVE = chosen
    event(BEGIN)
    assert "not sealed yet" in drop().sentence
    sealer.seal()
    tamper("UPDATE job_events SET reason = 'x' WHERE id = %s", month[0])
    assert "not as it was sealed" in drop().sentence
    assert exists() and not DroppedRows.objects.exists()


def test_month_without_an_export_and_without_events_is_dropped(settings: Settings) -> None:
    settings.OPSCONSOLE_ARCHIVE = archive.NOWHERE
    sql(CREATE)
    assert drop().sentence == "0 events dropped." and not exists()


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Pacific/Kiritimati"])
def test_month_is_due_when_its_last_day_is_old_enough_in_utc(zone: str, settings: Settings) -> None:
    sql(
        "SELECT set_config('TimeZone', %s, true)",
        [zone],
    )
    settings.OPSCONSOLE_KEEP_EVENTS_DAYS = 32
    settings.OPSCONSOLE_RECOVERY_WINDOW_HOURS = 1
    sql(CREATE)
    [(days,)] = sql(
        "SELECT floor(extract(epoch FROM statement_timestamp() - '2020-02-01 00:00+00') / 86400)::integer"
    )
    for kept, due in ((days, True), (days + 1, False)):
        settings.OPSCONSOLE_KEEP_EVENTS_DAYS = kept
        database_roles.carry_out(limits.unstored_days())
        assert [each.name for each in months.due()] == [NAME] * due
        if due:
            with transaction.atomic():
                assert sql(CALL, ["2020-01-01", 0, ""]) == [(True,)]
                transaction.set_rollback(True)
        else:
            with pytest.raises(DatabaseError, match="are kept until"), transaction.atomic():
                sql(CALL, ["2020-01-01", 0, ""])


def test_setting_that_is_shorter_than_what_the_owner_stored_does_not_count(settings: Settings) -> None:
    settings.OPSCONSOLE_KEEP_EVENTS_DAYS = 900
    database_roles.carry_out(limits.unstored_days())
    settings.OPSCONSOLE_KEEP_EVENTS_DAYS = 40
    assert months.kept_for() == timedelta(days=900)


def test_role_of_the_console_can_misuse_nothing(month: list[int]) -> None:
    role = f"runtime_{os.getpid()}"
    sql(
        f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA public, opsconsole TO {role};"
        f"GRANT EXECUTE ON FUNCTION {months.FUNCTION} TO {role}; GRANT SELECT ON retention_drops TO {role}; SET LOCAL ROLE {role}"
    )
    ids = ",".join(map(str, sorted(month)))
    this_month = f"{datetime.now(UTC):%Y-%m}-01"
    for message, statement, parameters in (
        ("kept until", CALL, [this_month, 0, ""]),
        ("not the first day", CALL, ["2020-01-02", 3, ids]),
        ("were exported", CALL, ["2020-01-01", 2, ids]),
        ("were exported", CALL, ["2020-01-01", 3, ",".join(map(str, sorted(month)[:2]))]),
        ("were exported", CALL, ["2020-01-01", 3, f"{min(month)}-{max(month)}"]),
        ("permission denied|must be owner", f"DROP TABLE {NAME}", None),
        ("must be owner", f"COMMENT ON FUNCTION {months.FUNCTION} IS 'opsconsole keeps 32 days'", None),
        (
            "permission denied",
            "INSERT INTO retention_drops (source, name, ids, row_count, content, file, by) VALUES ('', '', '', 0, '', '', '')",
            None,
        ),
    ):
        with pytest.raises(DatabaseError, match=message), transaction.atomic():
            sql(statement, parameters)
    # Nor by a temporary table that takes the place of one.
    sql("RESET ROLE")
    event(BEGIN)
    sql(f"GRANT TEMPORARY ON DATABASE {connection.settings_dict['NAME']} TO {role}; SET LOCAL ROLE {role}")
    sql(
        "CREATE TEMPORARY TABLE audit_seals AS SELECT 'timeline'::text AS source, '1-999999999'::text AS ids,"
        " 1::bigint AS first_id, 999999999::bigint AS last_id"
    )
    sql("RESET ROLE")
    present = JobEvent.objects.filter(at__lte=LAST).order_by("pk").values_list("pk", flat=True)
    every = ",".join(map(str, present))
    sql(f"SET LOCAL ROLE {role}")
    with pytest.raises(DatabaseError, match="1 of 4 events are not sealed"), transaction.atomic():
        sql(CALL, ["2020-01-01", 4, every])
    sql("RESET ROLE")


def test_event_that_comes_after_the_export_keeps_the_month(
    month: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keep = archive.keep

    def late(*arguments: Any) -> Any:
        kept = keep(*arguments)
        event(BEGIN)
        return kept

    monkeypatch.setattr(archive, "keep", late)
    assert "Events were added to it meanwhile" in drop().sentence and exists()
    monkeypatch.undo()
    event(BEGIN)
    sealer.seal()
    assert drop().rows == 4
    assert len(lines(tmp_path / FILE)) == 4
    # Once it is gone, late events are read like all others.
    late_id = event(BEGIN)
    assert sql("SELECT tableoid::regclass::text FROM job_events WHERE id = %s", [late_id]) == [
        ("job_events_default",)
    ]
    sealer.seal()
    assert verification.verify().breaks == []


def test_full_disk_keeps_the_month_and_leaves_no_file(month: list[int], tmp_path: Path) -> None:
    (tmp_path / f"{FILE}.part").symlink_to("/dev/full")
    assert "No space left on device" in drop().sentence
    assert exists() and list(tmp_path.iterdir()) == []
    assert drop().rows == 3


def test_months_go_to_a_bucket_and_stay_where_it_refuses(month: list[int], settings: Settings) -> None:
    settings.OPSCONSOLE_ARCHIVE = "s3://no-such-bucket/months"
    assert "The bucket no-such-bucket refuses: NoSuchBucket" in drop().sentence and exists()
    with pytest.raises(SystemExit) as ended:
        call_command("retention", "--json", stdout=StringIO())
    assert ended.value.code == 1

    bucket = f"months-{uuid4().hex[:8]}"
    endpoint = settings.AWS_ENDPOINT_URL
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=bucket)
    settings.OPSCONSOLE_ARCHIVE = f"s3://{bucket}/months"
    assert drop().rows == 3
    assert DroppedRows.objects.get().file == f"s3://{bucket}/months/{FILE}"


@pytest.mark.usefixtures("_real")
def test_writer_who_holds_the_month_wins_and_two_runs_drop_it_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(month_drop, "TRIES", 2)
    monkeypatch.setattr(month_drop, "PAUSE_SECONDS", 0)
    with other_session() as writer:
        writer.execute(
            f"INSERT INTO job_events (job_id, at, kind, actor) VALUES (gen_random_uuid(), '{BEGIN}', 'completed', 'x')"
        )
        assert "Other transactions hold the timeline" in drop().sentence and exists()

    def run(_: int) -> list[int | None]:
        try:
            return [result.rows for result in month_drop.drop_due("test")]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        rows = [each for answer in pool.map(run, range(2)) for each in answer]
    assert [each for each in rows if each is not None] == [3]
    assert not exists() and DroppedRows.objects.count() == 1
    export.write(tmp_path / "export")
    report = exported.verify(tmp_path / "export")
    assert report.breaks == [] and report.dropped == 3


KILLED = """
import os, signal, django
django.setup()
from opsconsole.retention import month_drop, month_export
def end(*_): os.kill(os.getpid(), signal.SIGKILL)
if {place!r} == "export":
    month_export.check = end
else:
    call = month_drop._call
    month_drop._call = lambda *arguments: (call(*arguments), end())
list(month_drop.drop_due("killed"))
"""


@pytest.mark.usefixtures("_real")
@pytest.mark.parametrize("place", ["export", "drop"])
def test_run_that_is_killed_leaves_the_month_and_the_next_one_ends_it(
    place: str, settings: Settings, month: list[int], tmp_path: Path
) -> None:
    described = connection.settings_dict
    url = f"postgres://{described['USER']}@/{described['NAME']}?host={described['HOST'].replace('/', '%2F')}"
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(place=place)],
        cwd=REPOSITORY,
        env=os.environ | {"DATABASE_URL": url, "OPSCONSOLE_ARCHIVE": str(tmp_path)},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -9, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [FILE + ".part" * (place == "export")]
    with connection.cursor() as cursor:
        # Its session may need a moment to notice.
        cursor.execute("SELECT pg_advisory_lock(7340123), pg_advisory_unlock(7340123)")
    assert exists() and not DroppedRows.objects.exists()

    assert drop().rows == 3

    assert lines(tmp_path / FILE) == sorted(month) and [path.name for path in tmp_path.iterdir()] == [FILE]
    assert DroppedRows.objects.count() == 1 and verification.verify().breaks == []


@pytest.mark.usefixtures("_real")
def test_export_may_take_long_and_keeps_nobody_waiting(
    month: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload leaves the session idle; the limit of sessions that say nothing ended it after a minute, each hour."""
    seen: list[Any] = []

    def look(*_: Any) -> None:
        seen.extend(sql("SHOW idle_in_transaction_session_timeout"))
        seen.extend(
            sql("SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = %s::regclass", [NAME])
        )

    monkeypatch.setattr(month_export, "check", look)
    assert drop().sentence == "3 events dropped."
    assert seen == [("6h",)]


def test_file_that_is_damaged_keeps_the_month(month: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    check = month_export.check

    def damage(file: Path, wanted: Any) -> None:
        packed = bytearray(file.read_bytes())
        packed[12:40] = bytes(255 - byte for byte in packed[12:40])
        file.write_bytes(packed)
        check(file, wanted)

    monkeypatch.setattr(month_export, "check", damage)
    assert "can't be read back" in drop().sentence
    assert exists() and not DroppedRows.objects.exists()


@pytest.mark.parametrize(
    ("status", "told"),
    [(503, "can't be used now: SlowDown"), (403, "refuses: SlowDown: x. This process needs")],
)
def test_bucket_that_is_busy_is_not_told_to_lack_permissions(status: int, told: str) -> None:
    answer: Any = {
        "Error": {"Code": "SlowDown", "Message": "x"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    assert told in str(buckets._from_answer("months", ClientError(answer, "PutObject")))
