"""The command that takes the console out of a database again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import IntegrityError, InternalError, NotSupportedError, ProgrammingError, connection

from opsconsole import database_roles
from opsconsole.kit import commands
from opsconsole.kit.errors import first_line
from opsconsole.leaving import derivation, export, objections, removal, sessions
from opsconsole.leaving import plan as plans
from opsconsole.leaving.plan import Plan


class Command(commands.ConsoleCommand):
    help = (
        "Take the console out of the database: its tables, its columns and indexes on your tables, its functions, and what "
        "migrate granted. What it replaced is put back. Run it as the owner of the tables (OPSCONSOLE_OWNER_DATABASE_URL), once "
        "every process of the console is stopped. A run that was interrupted is finished by the next one."
    )
    examples = ("uninstall --dry-run", "uninstall --export leaving/ --yes")
    # An index goes once every transaction has ended that may read it.
    patience_seconds = None
    # The console need not be able to serve any more.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        commands.add_dry_run(parser)
        parser.add_argument(
            "--export",
            type=Path,
            metavar="FOLDER",
            help="write the timeline, the audit and their seals there first, as JSON lines",
        )
        parser.add_argument(
            "--drop-created-tables",
            action="store_true",
            help="also drop contract tables that the console created, with their rows",
        )
        parser.add_argument("--yes", action="store_true", help="don't ask for the name of the database")

    def handle(self, *args: Any, **options: Any) -> None:
        self.role = str(connection.settings_dict["USER"])
        # Otherwise this command would be found among the console's sessions.
        connection.close()
        with database_roles.as_owner():
            plan = self._plan(options["drop_created_tables"])
            if plan is None:
                self.stdout.write("The console has nothing in this database. Nothing was changed.")
                return
            self._show(plan)
            if options["dry_run"]:
                self.stdout.write("Nothing was changed.")
                return
            self._confirm(yes=options["yes"])
            self._refuse_others(plan)
            derivation.complete(self.role)
            if options["export"]:
                self.stdout.write(export.write(options["export"]))
            connection.close()
        refused = removal.give_settings_back(plan)
        connection.close()
        with database_roles.as_owner():
            refused += self._remove(plan)
        self._say("The console has left this database.")
        for statement in refused:
            self.stderr.write(f"The database refused this statement. Run it as a role that may: {statement};")

    def _remove(self, plan: Plan) -> list[str]:
        """Return the statements that somebody else has to run."""
        try:
            removal.leave_contract_tables(plan, self._say)
            refused = removal.take_privileges_back(plan, self.role, self._say)
            for sentence in removal.drop_own(plan):
                self._say(sentence)
        except (ProgrammingError, InternalError, IntegrityError, NotSupportedError) as error:
            raise CommandError(
                f"The database refused a step: {first_line(error)}. What was done before stays done. Once the reason is gone, run "
                "uninstall again: it goes on there."
            ) from error
        return refused

    def _plan(self, drop_created: bool) -> Plan | None:  # noqa: FBT001 - an option
        return plans.find(self.role, drop_created=drop_created)

    def _say(self, sentence: str) -> None:
        self.stdout.write(sentence)
        self.stdout.flush()

    def _show(self, plan: Plan) -> None:
        for line in described(plan):
            self.stdout.write(line)
        found = list(objections.find(plan))
        for line in [*objections.going_along(plan), *found]:
            self.stdout.write(line)
        if found:
            raise CommandError(f"{found[0]} Nothing was changed.")

    def _refuse_others(self, plan: Plan) -> None:
        found = sessions.connected(self.role, plan.own.tables)
        if found:
            listed = "; ".join(found)
            raise CommandError(
                f"Processes that use the console's tables are still connected: {listed}. Nothing was changed. Stop them, "
                "then run uninstall again."
            )

    def _confirm(self, *, yes: bool) -> None:
        if yes:
            return
        name = str(connection.settings_dict["NAME"])
        if not sys.stdin.isatty():
            raise CommandError(
                "Nobody can be asked here. Nothing was changed. Add --yes to uninstall without a question."
            )
        if (
            input(f"What goes can't be brought back. Type the name of the database ({name}) to go on: ")
            != name
        ):
            raise CommandError("That is not the name of the database. Nothing was changed.")


def described(plan: Plan) -> Iterator[str]:
    """Yield in sentences what the plan does."""
    if plan.is_derived:
        yield (
            "An earlier version attached the console and kept no record. What is the console's was worked out: a function that "
            "it replaced can't be put back, and tables that it created stay."
        )
    if plan.is_resumed:
        yield "An uninstall was interrupted. This one finishes it."
    yield f"{len(plan.own.tables)} tables of the console in the schema {plan.own.place} are dropped, with all they hold."
    for table, columns in plan.columns.items():
        yield f"{table} loses the columns {', '.join(columns)}, with what they hold."
    for index in plan.indexes:
        yield f"{index.table} loses the index {index.name}."
    for table in plan.dropped_tables:
        yield f"The table {table}, which the console created, is dropped."
    for table in plan.kept_tables:
        yield (
            f"The table {table}, which the console created, holds rows and stays with all its columns "
            "(--drop-created-tables drops it)."
        )
    for routine, is_theirs in plan.functions.items():
        yield (
            f"{routine} is replaced by the function that was there before."
            if is_theirs
            else f"{routine} is dropped."
        )
    for statement in [*plan.privileges, *plan.settings]:
        yield f"This is run: {statement};"
    if plan.own.shared_tables:
        yield (
            "Another Django project uses the same django_migrations. Tables of Django's own apps stay, with the console's rows "
            f"in them: {', '.join(plan.own.shared_tables)}."
        )
