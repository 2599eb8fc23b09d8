"""Django's ``changepassword``, which also writes to the audit whose password was set by whom."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.management.commands import changepassword
from django.contrib.auth.models import User
from django.db import transaction

from opsconsole.kit import audit


class Command(changepassword.Command):
    def handle(self, *args: Any, **options: Any) -> str | None:
        # Django's command takes the user of the operating system where no name is given.
        name = options["username"] or audit.system_user()
        with transaction.atomic():
            before = dict(User.objects.filter(username=name).values_list("pk", "password"))
            output: str | None = super().handle(*args, **options)
            changed = [
                user for user in User.objects.filter(pk__in=before) if user.password != before[user.pk]
            ]
            audit.log_command("", changed, "Set a new password.", why=audit.NOT_ASKED)
        return output
