"""Attaching to an existing ``rate_limit_requests`` table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.databases import Database

THEIRS = """
CREATE TABLE rate_limit_requests (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), key text NOT NULL, endpoint text NOT NULL,
    method text NOT NULL, created_at timestamptz NOT NULL DEFAULT now(), country text
);
CREATE INDEX theirs_idx ON rate_limit_requests (key, created_at DESC);
INSERT INTO rate_limit_requests (key, endpoint, method, created_at, country)
SELECT 'k' || i, '/', 'GET', now() - i * interval '1 minute', 'nl' FROM generate_series(1, 100) i;
CREATE FUNCTION cleanup_rate_limit_requests() RETURNS void LANGUAGE sql
    AS 'DELETE FROM rate_limit_requests WHERE created_at < now() - interval ''1 hour''';
"""


def test_existing_rows_stay_and_an_existing_function_is_replaced(theirs: Database) -> None:
    theirs.sql(THEIRS)
    theirs.migrate(OPSCONSOLE_CREATE_JOBS="1")
    assert theirs.sql("SELECT count(*), min(hits), max(country) FROM rate_limit_requests") == [(100, 1, "nl")]
    assert theirs.value("SELECT cleanup_rate_limit_requests()") == 41
    assert theirs.value("SELECT count(*) FROM rate_limit_requests") == 59

    assert theirs.manage("migrate", "ratelimits", "zero").returncode == 0

    assert theirs.value("SELECT count(*) FROM rate_limit_requests WHERE country = 'nl'") == 59
    assert theirs.value("SELECT to_regclass('theirs_idx') IS NOT NULL")
    # Theirs, which returns nothing, is back.
    assert (
        theirs.value("SELECT prorettype::regtype::text FROM pg_proc WHERE proname LIKE 'cleanup%'") == "void"
    )
