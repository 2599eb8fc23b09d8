"""Django's ``createsuperuser``, which also writes to the audit who created whom."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.management.commands import createsuperuser
from django.contrib.auth.models import User
from django.db import transaction

from opsconsole.kit import audit


class Command(createsuperuser.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            before = User.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
            super().handle(*args, **options)
            created = User.objects.filter(pk__gt=before, is_superuser=True)
            audit.log_command("", created, "Added: is superuser, is staff.", why=audit.NOT_ASKED)
