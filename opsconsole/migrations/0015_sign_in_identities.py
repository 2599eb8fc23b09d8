"""Who somebody is at the identity provider, and the permission of administrators to link that to accounts."""

from __future__ import annotations

from typing import Any

import django.db.models.deletion
import django.db.models.functions.datetime
from django.apps import apps as installed
from django.conf import settings
from django.contrib.auth.management import create_permissions
from django.db import migrations, models

from opsconsole.sign_in.roles import ADMINISTRATOR


def grant(apps: Any, schema_editor: Any) -> None:
    create_permissions(installed.get_app_config("opsconsole"), apps=apps, verbosity=0)
    page = apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label="opsconsole", codename__in=["view_signinidentity", "link_signinidentity"]
    )
    for role in apps.get_model("auth", "Group").objects.filter(name=ADMINISTRATOR):
        role.permissions.add(*page)


class Migration(migrations.Migration):
    dependencies = [
        ("opsconsole", "0014_retention"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="CompletedSignIn",
            fields=[
                ("state", models.TextField(help_text="A hash of it.", primary_key=True, serialize=False)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "db_table": "sign_in_completed",
                "default_permissions": (),
            },
        ),
        migrations.AlterField(
            model_name="refusal",
            name="kind",
            field=models.TextField(
                choices=[
                    ("log-in", "Log In"),
                    ("permission", "Permission"),
                    ("scope", "scope of an API key"),
                    ("single sign-on", "Single Sign On"),
                ]
            ),
        ),
        migrations.CreateModel(
            name="SignInIdentity",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("issuer", models.TextField()),
                ("subject", models.TextField()),
                (
                    "name",
                    models.TextField(
                        blank=True, db_default="", help_text="As the provider last called the person."
                    ),
                ),
                ("email", models.TextField(blank=True, db_default="")),
                ("noticed_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("signed_in_at", models.DateTimeField(null=True)),
                (
                    "user",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="identity",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "sign-in identities",
                "db_table": "sign_in_identities",
                "ordering": ["-id"],
                "permissions": [("link_signinidentity", "Can link identities to accounts")],
                "default_permissions": ("view",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("issuer", "subject"), name="sign_in_identities_one_per_person"
                    )
                ],
            },
        ),
        migrations.RunPython(grant, migrations.RunPython.noop),
    ]
