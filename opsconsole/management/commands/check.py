"""Django's ``check``, which also looks into the database, as far as it answers."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import check
from django.db import Error, connection

from opsconsole.kit.errors import first_line


class Command(check.Command):
    def handle(self, *app_labels: Any, **options: Any) -> None:
        if options["databases"] is None and not options["tags"] and self._database_answers():
            options["databases"] = ["default"]
        super().handle(*app_labels, **options)

    def _database_answers(self) -> bool:
        try:
            connection.ensure_connection()
        except Error as error:
            self.stderr.write(
                f"The database was not checked, because it does not answer: {first_line(error)}"
            )
            return False
        return True
