"""Tests that a mapping is noticed which changed after migrate: by check, the inspection and the readiness probe."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from pytest_django.fixtures import Settings

from jobs.inspection import life
from opsconsole import checks
from opsconsole.kit import mapping_version
from opsconsole.kit.mapping import Mapping
from opsconsole_worker.mapping.mapping_file import parse


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("", False),
        ("[jobs]\nschema = 'public'", False),
        ("[jobs.statuses]\nfailed = ['error']", False),
        ("[jobs.statuses]\npending = ['pending', 'queued']", True),
        ("[jobs.columns]\nstatus = 'state'", True),
        ("[jobs]\nid_type = 'bigint'", True),
        ("[jobs.times]\ncreated_at = 'without_zone:Europe/Berlin'", True),
        ("[jobs.life]\ntold_by = 'updated_at'", True),
        ("[jobs.life]\nworker = 'locked_by'", True),
        ("[jobs.queues]\ndefault = ['night']", True),
        ("[worker_heartbeats]\nabsent = true", True),
        ("[rate_limit_requests]\ntable = 'requests'", True),
    ],
)
def test_what_is_built_in_changes_the_word(text: str, changes: bool) -> None:
    jobs = "[jobs.columns]\ncustomer_id = 'owner_id'\n"
    mapped, other = (
        (parse(jobs), parse(jobs + text)) if "[jobs.columns]" not in text else (Mapping(), parse(text))
    )
    assert (mapping_version.of(mapped) != mapping_version.of(other)) is changes


@pytest.mark.django_db
def test_mapping_that_changed_is_told_everywhere(settings: Settings) -> None:
    assert not mapping_version.has_changed()
    assert not checks.check_mapping(["default"])
    assert not list(life.inspect_mapping())

    settings.OPSCONSOLE_MAPPING = parse("[jobs.statuses]\nin_progress = ['running']")
    [error], [finding] = checks.check_mapping(["default"]), [*life.inspect_mapping()]
    assert error.msg == mapping_version.SENTENCE and finding.id == "mapping-changed"
    probe = Client().get("/readyz")
    assert probe.status_code == 503
    assert probe.json()["checks"]["database"] == "mapping changed"

    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION find_stale_jobs")
    assert not mapping_version.has_changed()
