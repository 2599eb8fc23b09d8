"""A database that gives every new object to strangers, as Supabase prepares each project."""

from __future__ import annotations

from collections.abc import Sequence

from tests.databases import Database

STRANGERS = ("anon", "authenticated", "service_role")
# What a role may do with the objects of a schema, but for some tables, and with some objects of public.
ALLOWED = """
SELECT relname::text, privilege FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
 CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
 WHERE relkind IN ('r', 'p', 'v') AND (nspname = %(schema)s AND relname <> ALL (%(without)s) OR relname = ANY (%(contract)s))
   AND has_table_privilege(%(role)s, pg_class.oid, privilege)
UNION ALL
SELECT relname::text, 'column' FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
 WHERE relkind IN ('r', 'p', 'v') AND (nspname = %(schema)s AND relname <> ALL (%(without)s) OR relname = ANY (%(contract)s))
   AND has_any_column_privilege(%(role)s, pg_class.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
UNION ALL
SELECT relname::text, 'sequence' FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
 WHERE nspname = %(schema)s
   AND CASE relkind WHEN 'S' THEN has_sequence_privilege(%(role)s, pg_class.oid, 'USAGE, SELECT, UPDATE') END
UNION ALL
SELECT proname::text, 'EXECUTE' FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace
 WHERE (nspname = %(schema)s OR proname IN ('find_stale_jobs', 'cleanup_rate_limit_requests'))
   AND has_function_privilege(%(role)s, pg_proc.oid, 'EXECUTE')
UNION ALL
SELECT nspname::text, privilege FROM pg_namespace CROSS JOIN unnest(ARRAY['USAGE', 'CREATE']) AS privilege
 WHERE nspname = %(schema)s AND nspname <> 'public' AND has_schema_privilege(%(role)s, oid, privilege)
"""
CONTRACT_TABLES = ["jobs", "worker_heartbeats", "rate_limit_requests"]


class Supabase:
    """A database whose roles have names of their own, because roles belong to the whole server."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.strangers = {name: f"{name}_{database.name}" for name in STRANGERS}
        self.owner, self.runtime = f"owner_{database.name}", f"runtime_{database.name}"
        # Of programs that use SQL. Nothing is given to them at first.
        self.worker, self.reader = f"worker_{database.name}", f"reader_{database.name}"

    @property
    def roles(self) -> list[str]:
        return [*self.strangers.values(), self.owner, self.runtime, self.worker, self.reader]

    def create(self) -> None:
        given = ", ".join(self.strangers.values())
        for role in self.roles:
            self.database.sql(f"CREATE ROLE {role} LOGIN")
        self.database.sql(
            f'GRANT CREATE ON DATABASE "{self.database.name}" TO {self.owner};'
            f"GRANT CREATE, USAGE ON SCHEMA public TO {self.owner}; GRANT USAGE ON SCHEMA public TO {given};"
        )
        for giver in ("postgres", self.owner, self.runtime):
            for where in ("IN SCHEMA public", ""):
                for kind in ("TABLES", "SEQUENCES", "FUNCTIONS"):
                    self.database.sql(
                        f"ALTER DEFAULT PRIVILEGES FOR ROLE {giver} {where} GRANT ALL ON {kind} TO {given}"
                    )
            self.database.sql(
                f"ALTER DEFAULT PRIVILEGES FOR ROLE {giver} GRANT USAGE ON SCHEMAS TO {given};"
                f"ALTER DEFAULT PRIVILEGES FOR ROLE {giver} GRANT SELECT ON TABLES TO PUBLIC"
            )

    def drop(self) -> None:
        for role in self.roles:
            self.database.sql(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")

    def allowed(
        self, *, schema: str = "opsconsole", without: Sequence[str] = ()
    ) -> list[tuple[str, str, str]]:
        """Return what strangers may do with what the console created, in its schema and in that of contract tables."""
        contract = [name for name in CONTRACT_TABLES if name not in without]
        given = {"schema": schema, "contract": contract, "without": list(without)}
        return [
            (role, *row)
            for role in [*self.strangers.values(), "public"]
            for row in self.database.sql(ALLOWED, {"role": role} | given)
        ]
