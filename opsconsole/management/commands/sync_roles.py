from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group
from django.core.management.base import BaseCommand
from django.db import transaction

from opsconsole.kit import audit
from opsconsole.sign_in import roles


class Command(BaseCommand):
    help = "Create missing roles (Viewer, Operator, Administrator) and add the permissions that they lack."

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            given = roles.grant(apps)
            changed = Group.objects.filter(name__in=[role for role, count in given.items() if count])
            audit.log_command("", changed, "sync_roles added permissions.", why=audit.NOT_ASKED)
        for role, count in given.items():
            self.stdout.write(f"{role}: {count} permissions added" if count else f"{role}: complete")
