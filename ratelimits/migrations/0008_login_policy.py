"""The policy that covers the log-in, the one form that answers strangers: as strict as ``strict``, by address."""

from django.db import migrations

LOGIN = """
INSERT INTO rate_limit_policies
       (name, "limit", window_seconds, algorithm, mode, key, path_prefixes, methods, allow_networks, deny_networks,
        when_store_is_away, position, changed_at, changed_by)
VALUES ('login', 10, 60, 'moving', 'enforce', 'address', '{/admin/login/}', '{POST}', '{}', '{}', 'local', 5, now(), 'console')
    ON CONFLICT (name) DO NOTHING
"""


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0007_api_keys")]

    operations = [migrations.RunSQL(LOGIN, "DELETE FROM rate_limit_policies WHERE name = 'login'")]
