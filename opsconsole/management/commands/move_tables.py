"""The command that moves the console's own tables to a schema of their own, or back."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.db import connection

from jobs.inspection import catalog
from opsconsole import database_roles, own_tables
from opsconsole.kit import audit, commands, own_schema
from opsconsole.kit.counting import exactly


class Command(commands.ConsoleCommand):
    help = (
        "Move the console's own tables, with their partitions and functions, to the schema OPSCONSOLE_SCHEMA, or to another "
        "one. Contract tables stay. Run as the owner of the tables (OPSCONSOLE_OWNER_DATABASE_URL), once every process runs this "
        "version or a later one."
    )

    examples = ("move_tables", "move_tables --to public")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--to", metavar="SCHEMA", help="another schema, such as public to move them back")
        commands.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        target = options["to"] or own_schema.name()
        runtime_role = str(connection.settings_dict["USER"])
        with database_roles.as_owner():
            moved = own_tables.move(target, runtime_role=runtime_role)
            if moved:
                did = f"Moved {exactly(moved.tables, 'table')} from the schema {moved.source} to {target}."
                audit.log_without_user(audit.command_actor(""), did, why=audit.NOT_ASKED)
        if moved is None:
            lines = [f"The console's own tables are in the schema {target}. Nothing was changed."]
            self.tell({"schema": target, "moved": 0}, lines, as_json=options["json"])
            return
        database = catalog.quoted(str(connection.settings_dict["NAME"]))
        path = f"{catalog.quoted(target)}, {catalog.quoted(moved.source)}"
        lines = [f"Moved {moved.tables} tables from the schema {moved.source} to {target}."]
        lines += [
            f"{role} has privileges on some of them and may use the schema. Let its programs find them there, for example: "
            f"ALTER ROLE {role} IN DATABASE {database} SET search_path = {path};"
            for role in moved.users
        ]
        answer = {"schema": target, "moved": moved.tables, "roles": list(moved.users)}
        self.tell(answer, lines, as_json=options["json"])
