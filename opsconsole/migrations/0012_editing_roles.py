"""Operators and administrators may edit payloads and enqueue jobs. Other permissions of roles stay as teams have changed them."""

from __future__ import annotations

from typing import Any

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations

from opsconsole.sign_in.roles import ADMINISTRATOR, OPERATOR

NEW = ("edit_job", "enqueue_job")


def grant(apps: Any, schema_editor: Any) -> None:
    create_permissions(installed.get_app_config("jobs"), apps=apps, verbosity=0)
    found = apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label="jobs", codename__in=NEW
    )
    for role in apps.get_model("auth", "Group").objects.filter(name__in=(OPERATOR, ADMINISTRATOR)):
        role.permissions.add(*found)


class Migration(migrations.Migration):
    dependencies = [("opsconsole", "0011_attach_page_role"), ("jobs", "0023_edited_payloads")]

    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
