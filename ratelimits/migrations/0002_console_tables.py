"""Policies, the global mode, problems of the limiter, hourly rollups of the records, and API keys."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Now

ID = ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0001_contract_table")]

    operations = [
        migrations.CreateModel(
            name="Policy",
            fields=[
                ID,
                (
                    "name",
                    models.TextField(
                        help_text="Lowercase letters, digits and hyphens. The name cannot be changed later.",
                        unique=True,
                    ),
                ),
                (
                    "limit",
                    models.IntegerField(
                        help_text="The number of requests that a client may make per window."
                    ),
                ),
                ("window_seconds", models.IntegerField(default=60, verbose_name="window (seconds)")),
                (
                    "algorithm",
                    models.TextField(
                        choices=[
                            ("moving", "exact moving window: never more than the limit in any window"),
                            ("counter", "sliding counter: approximate, about 120 bytes per client"),
                        ],
                        default="moving",
                    ),
                ),
                (
                    "mode",
                    models.TextField(
                        choices=[
                            ("enforce", "enforce: refuse requests above the limit"),
                            ("shadow", "shadow: count and record, but refuse nothing"),
                            ("off", "off: do not count"),
                        ],
                        default="enforce",
                    ),
                ),
                (
                    "key",
                    models.TextField(
                        choices=[
                            ("default", "API key, otherwise user, otherwise address"),
                            ("address", "address"),
                            ("user", "user, otherwise address"),
                            ("api_key", "API key, otherwise address"),
                        ],
                        default="default",
                        verbose_name="count per",
                    ),
                ),
                (
                    "path_prefixes",
                    ArrayField(
                        base_field=models.TextField(),
                        blank=True,
                        default=list,
                        help_text="Paths to limit, separated by commas, such as /api/. Views can also name the policy in code.",
                        size=None,
                    ),
                ),
                (
                    "methods",
                    ArrayField(
                        base_field=models.TextField(),
                        blank=True,
                        default=list,
                        help_text="Methods to limit, separated by commas, such as POST, PUT. Empty means all methods.",
                        size=None,
                    ),
                ),
                (
                    "allow_networks",
                    ArrayField(
                        base_field=models.TextField(),
                        blank=True,
                        default=list,
                        help_text="Networks that are never limited, separated by commas, such as 10.0.0.0/8.",
                        size=None,
                    ),
                ),
                (
                    "deny_networks",
                    ArrayField(
                        base_field=models.TextField(),
                        blank=True,
                        default=list,
                        help_text="Networks whose requests are always refused with 403, separated by commas.",
                        size=None,
                    ),
                ),
                (
                    "when_store_is_away",
                    models.TextField(
                        choices=[
                            (
                                "local",
                                "count in each process, with the limit divided by the number of processes",
                            ),
                            ("open", "allow every request"),
                            ("closed", "refuse every request"),
                        ],
                        default="local",
                        verbose_name="when the store is unavailable",
                    ),
                ),
                (
                    "position",
                    models.IntegerField(
                        default=100,
                        help_text="If several policies cover a request, they are listed in this order, lowest first.",
                    ),
                ),
                ("changed_at", models.DateTimeField(auto_now=True)),
                ("changed_by", models.TextField(blank=True, default="", editable=False)),
            ],
            options={
                "verbose_name_plural": "policies",
                "db_table": "rate_limit_policies",
                "ordering": ["position", "name"],
                "default_permissions": ("view", "add", "change"),
            },
        ),
        migrations.CreateModel(
            name="LimiterControl",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                (
                    "mode",
                    models.TextField(
                        choices=[
                            ("enforce", "enforce: refuse requests above the limit"),
                            ("shadow", "shadow: count and record, but refuse nothing"),
                            ("off", "off: do not count"),
                        ],
                        db_default="enforce",
                    ),
                ),
                ("changed_at", models.DateTimeField(null=True)),
                ("changed_by", models.TextField(blank=True, db_default="")),
                ("reason", models.TextField(blank=True, db_default="")),
                (
                    "version",
                    models.BigIntegerField(db_default=1, help_text="A trigger raises it with each change."),
                ),
                ("salt", models.TextField(help_text="The salt of the hashed client keys in the rollups.")),
            ],
            options={
                "verbose_name": "limiter control",
                "db_table": "rate_limit_control",
                "permissions": [("switch_limiter", "Can switch all rate limits to shadow or off")],
                "default_permissions": ("view",),
                "constraints": [models.CheckConstraint(condition=Q(id=1), name="rate_limit_control_one_row")],
            },
        ),
        migrations.CreateModel(
            name="LimiterTrouble",
            fields=[
                ID,
                (
                    "kind",
                    models.TextField(
                        choices=[
                            ("store away", "Store Away"),
                            ("untrusted proxy", "Untrusted Proxy"),
                            ("more processes than stated", "Processes"),
                        ]
                    ),
                ),
                ("process", models.TextField(help_text="The host and the process id.")),
                ("detail", models.TextField()),
                ("since", models.DateTimeField(db_default=Now())),
                ("seen_at", models.DateTimeField(db_default=Now())),
            ],
            options={
                "db_table": "rate_limit_troubles",
                "default_permissions": ("view",),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("kind", "process"), name="rate_limit_troubles_one_a_process"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="RateLimitHour",
            fields=[
                ID,
                ("hour", models.DateTimeField(help_text="The start of the hour, in UTC.")),
                ("policy", models.TextField()),
                ("key_hash", models.TextField()),
                ("endpoint", models.TextField()),
                ("method", models.TextField()),
                ("outcome", models.TextField()),
                ("hits", models.BigIntegerField()),
            ],
            options={
                "verbose_name": "rate limit hour",
                "db_table": "rate_limit_hours",
                "default_permissions": ("view",),
                "indexes": [models.Index(fields=["key_hash", "-hour"], name="rate_limit_hours_client_idx")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("hour", "policy", "key_hash", "endpoint", "method", "outcome"),
                        name="rate_limit_hours_one_row_a_kind",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "name",
                    models.TextField(
                        help_text="Who uses the key. The timeline of each job that it submits shows this name."
                    ),
                ),
                (
                    "digest",
                    models.TextField(
                        editable=False, help_text="A hash of the key, made with a pepper.", unique=True
                    ),
                ),
                ("hint", models.TextField(help_text="The last characters of the key, to tell keys apart.")),
                (
                    "scopes",
                    ArrayField(
                        base_field=models.TextField(
                            choices=[
                                ("jobs:write", "jobs:write: submit jobs"),
                                ("worker", "worker: claim and run jobs"),
                                ("limits:check", "limits:check: check rate limits for other services"),
                            ]
                        ),
                        size=None,
                    ),
                ),
                (
                    "policy",
                    models.TextField(help_text="The rate limit policy that counts the key's requests."),
                ),
                ("expires_at", models.DateTimeField(null=True)),
                ("last_used_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("created_by", models.TextField()),
                ("reason", models.TextField()),
                ("revoked_at", models.DateTimeField(null=True)),
                ("revoked_by", models.TextField(blank=True, db_default="")),
                ("revoke_reason", models.TextField(blank=True, db_default="")),
            ],
            options={
                "verbose_name": "API key",
                "db_table": "api_keys",
                "ordering": ["-created_at", "-id"],
                "permissions": [("revoke_apikey", "Can revoke an API key")],
                "default_permissions": ("add", "view"),
                "constraints": [
                    models.UniqueConstraint(
                        condition=Q(revoked_at=None), fields=("name",), name="api_keys_one_a_name"
                    )
                ],
            },
        ),
    ]
