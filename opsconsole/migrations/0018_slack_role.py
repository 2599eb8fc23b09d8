"""Administrators may link people in Slack to accounts. Other permissions of roles stay as teams have changed them."""

from __future__ import annotations

from typing import Any

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations

from opsconsole.sign_in.roles import ADMINISTRATOR


def grant(apps: Any, schema_editor: Any) -> None:
    create_permissions(installed.get_app_config("alerts"), apps=apps, verbosity=0)
    found = apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label="alerts", codename__in=["view_slackperson", "link_slackperson"]
    )
    for role in apps.get_model("auth", "Group").objects.filter(name=ADMINISTRATOR):
        role.permissions.add(*found)


class Migration(migrations.Migration):
    dependencies = [("opsconsole", "0017_audit_retention"), ("alerts", "0017_slack_app")]

    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
