"""Tests that nothing relies on the state of a database session: a pooler gives each transaction another session."""

from __future__ import annotations

import re

import pytest

from tests.repository import REPOSITORY, tracked

ALLOWED = (
    # migrate, its operations and uninstall use a connection to the server itself.
    "opsconsole/kit/short_locks.py",
    "/migrations/",
    # For roles without defaults of their own. It sets what the defaults are, so that a pooler passes on nothing else.
    "opsconsole_worker/reports/session.py",
    # A worker without a pooler, and only there, keeps the plan of its heartbeats: tests/opsconsole_worker/test_kept_plans.py.
    "opsconsole_worker/database/direct.py",
    # Where the operator says that the sessions of the pooler keep it: tests/field/test_pooler.py.
    "opsconsole_worker/database/shared_plans.py",
    # It looks for such calls in the triggers of others.
    "jobs/inspection/trigger_reach.py",
)
SESSION_STATE = {
    "an advisory lock that outlives its transaction": r"pg_(?:try_)?advisory_(?:lock|unlock)\w*",
    "LISTEN, which needs a session of its own": r"[\"']\s*(?:UN)?LISTEN\b",
    "a prepared statement": r"[\"']\s*(?:PREPARE|DEALLOCATE)\b|prepare=True|prepare_threshold(?!=None)",
    "a cursor that outlives its statement": r"\bDECLARE\s+\w+\s+(?:\w+\s+)*CURSOR\b|chunked_cursor|cursor\(name",
    "a temporary table": r"\bCREATE\s+(?:LOCAL\s+)?TEMP",
    "a setting of the session": r"[\"']\s*(?:RE)?SET\s+(?!LOCAL\b|TRANSACTION\b)\w+\s*(?:=|TO\b)",
    "set_config for the session": r"set_config\([^)]*,\s*false\s*\)",
}


@pytest.mark.parametrize("what", SESSION_STATE)
def test_code_leaves_no_session_state(what: str) -> None:
    sources = tracked("jobs/*.py", "alerts/*.py", "ratelimits/*.py", "opsconsole/*.py", "clients/python/*.py")
    assert len(sources) > 200
    found = {
        f"{file.relative_to(REPOSITORY)}: {match[0]}"
        for file in sources
        if not any(part in str(file) for part in ALLOWED)
        for match in re.finditer(SESSION_STATE[what], file.read_text())
    }
    assert sorted(found) == [], what
