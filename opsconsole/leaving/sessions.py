"""Processes of the console, and others that use its tables, which are still connected to the database."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection

from jobs.inspection import catalog

# Of other roles' sessions, PostgreSQL shows most roles only the id, the role and the application.
# The sessions that announce themselves as the console's, those of its own role, and those of roles that were granted its tables.
_CONNECTED = """
SELECT pid, usename::text, application_name, client_addr::text,
       to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')
  FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND coalesce(backend_type, '') IN ('', 'client backend')
   AND (application_name = %s
        OR usename = %s AND usename <> current_user
        OR usename IN (SELECT pg_get_userbyid(grantee) FROM pg_class, aclexplode(relacl)
                        WHERE pg_class.oid = ANY (%s::regclass[]) AND grantee NOT IN (0, relowner)))
 ORDER BY backend_start
"""


def connected(runtime_role: str, tables: Sequence[str]) -> list[str]:
    """Describe each such session, but for the one that asks."""
    name = str(connection.settings_dict["OPTIONS"].get("application_name", ""))
    found = catalog.rows(_CONNECTED, [name or "opsconsole", runtime_role, list(tables)])
    return [
        f"pid {pid}, role {role}, application {application or '(none)'}"
        + (f", from {host}" if host else "")
        + (f", since {since} UTC" if since else "")
        for pid, role, application, host, since in found
    ]
