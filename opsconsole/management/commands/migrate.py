"""Django's ``migrate``, run by the owner of the tables, which then equips the role that everything else runs with."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import Error, connection
from django.db.migrations.recorder import MigrationRecorder

from jobs.inspection import names
from opsconsole import database_roles, needed_rows, own_tables, upgraded_grants
from opsconsole.kit import attachment, audit, commands, schema_version
from opsconsole.kit.attachment import Kind
from opsconsole.kit.counting import exactly
from opsconsole.kit.errors import first_line
from opsconsole.leaving import derivation
from opsconsole.retention import limits


class Command(migrate.Command):
    """``execute`` also runs the checks of the database, which are about the owner's connection."""

    # Which settings sessions lack is said at the end, and of the role that pages use.
    requires_system_checks = tuple(tag for tag in commands.CHECKS_OF_SETTINGS if tag != "sessions")
    complete = False

    def execute(self, *args: Any, **options: Any) -> Any:
        self.role = str(connection.settings_dict["USER"])
        with database_roles.as_owner():
            output = super().execute(*args, **options)
        if self.complete:
            self._set_defaults(options["verbosity"])
        return output

    def handle(self, *args: Any, **options: Any) -> None:
        looks_only = options["plan"] or options["check_unapplied"]
        had = None
        before = self._applied()
        if not looks_only:
            had = upgraded_grants.before(self.role)
            own_tables.prepare()
            self._keep_record()
        super().handle(*args, **options)
        if before:  # With the first migration begins the audit.
            self._log(before, self._applied())
        for sentence in upgraded_grants.sentences(had, self.role) if had else ():
            self.stderr.write(sentence)
        self.complete = not (looks_only or self._is_incomplete())
        if self.complete:
            for sentence in needed_rows.write_again():
                self.stderr.write(sentence)
            database_roles.note_before(self.role)
            database_roles.carry_out(limits.unstored_days())
            self._grant(options["verbosity"])
            if place := own_tables.elsewhere():
                self.stderr.write(
                    f"The console's own tables are in the schema {place}, beside yours. To move them to a schema of their own: "
                    "python manage.py move_tables (docs/attaching.md)."
                )

    def _keep_record(self) -> None:
        """Let it be known what was there before, so that uninstall can leave it behind."""
        derivation.complete(self.role)
        if any(record.kind == Kind.LEAVING for record in attachment.read(connection)):
            raise CommandError(
                "An uninstall of the console began in this database and did not finish. Run uninstall again; afterwards migrate "
                "installs the console anew."
            )

    def _applied(self) -> set[str]:
        place = names.history_place()
        found = MigrationRecorder(connection).applied_migrations() if place else {}
        return {f"{app}.{name}" for app, name in found}

    def _log(self, before: set[str], after: set[str]) -> None:
        """Write to the audit which migrations were applied, and which were undone."""
        parts = {"Applied": sorted(after - before), "Undid": sorted(before - after)}
        sentences = [
            f"{verb} {exactly(len(done), 'migration')}: {', '.join(done)}."
            for verb, done in parts.items()
            if done
        ]
        if not sentences:
            return
        try:
            audit.log_without_user(audit.command_actor(""), " ".join(sentences), why=audit.NOT_ASKED)
        except Error as error:
            self.stderr.write(f"migrate was not written to the audit: {first_line(error)}")

    def _is_incomplete(self) -> bool:
        schema_version.look_again()
        return schema_version.is_behind()

    def _set_defaults(self, verbosity: int) -> None:
        try:
            if database_roles.is_ours_alone():
                missing = database_roles.missing_defaults(alone=True)
                self._tell(missing, database_roles.carry_out(missing), verbosity)
                if not connection.in_atomic_block:
                    # The next connection has the defaults.
                    connection.close()
                return
            statements = database_roles.missing_defaults(alone=False)
        except Error as error:
            self.stderr.write(
                f"The session settings of the role {self.role} could not be read: {first_line(error)}"
            )
            return
        if statements:
            self.stderr.write(
                f"The role {self.role} also owns tables that are not the console's, so its session settings were left alone. "
                "Give the console a role of its own (OPSCONSOLE_OWNER_DATABASE_URL), or run:"
            )
            self._show(statements)

    def _grant(self, verbosity: int) -> None:
        missing = database_roles.missing_grants(self.role)
        database_roles.carry_out(missing)
        # Granting what one may not pass on is no error: what is still missing was refused.
        self._tell(missing, database_roles.missing_grants(self.role) if missing else [], verbosity)

    def _tell(self, statements: list[str], refused: list[str], verbosity: int) -> None:
        if refused:
            self.stderr.write("The database refused these statements. Run them as a role that may:")
            self._show(refused)
        elif statements and verbosity:
            self.stdout.write("Run for the role that the console's processes use:")
            for statement in statements:
                self.stdout.write(f"  {statement};")

    def _show(self, statements: list[str]) -> None:
        for statement in statements:
            self.stderr.write(f"  {statement};")
