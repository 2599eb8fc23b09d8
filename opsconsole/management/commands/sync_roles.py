from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group
from django.core.management.base import CommandParser
from django.db import transaction

from opsconsole.kit import audit, commands
from opsconsole.sign_in import roles


class Command(commands.ConsoleCommand):
    help = "Create missing roles (Viewer, Operator, Administrator) and add the permissions that they lack."
    examples = ("sync_roles",)

    def add_arguments(self, parser: CommandParser) -> None:
        commands.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            given = roles.grant(apps)
            changed = Group.objects.filter(name__in=[role for role, count in given.items() if count])
            audit.log_command("", changed, "sync_roles added permissions.", why=audit.NOT_ASKED)
        lines = [
            f"{role}: {count} permissions added" if count else f"{role}: complete"
            for role, count in given.items()
        ]
        self.tell(given, lines, as_json=options["json"])
