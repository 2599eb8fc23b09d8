"""The policy that counts the calls by which other services ask for decisions: a quota of its own for each API key."""

from django.db import migrations

CHECK_QUOTA = """
INSERT INTO rate_limit_policies
       (name, "limit", window_seconds, algorithm, mode, key, path_prefixes, methods, allow_networks, deny_networks,
        when_store_is_away, position, changed_at, changed_by)
VALUES ('limits-check', 6000, 60, 'moving', 'enforce', 'api_key', '{}', '{}', '{}', '{}', 'local', 50, now(), 'console')
    ON CONFLICT (name) DO NOTHING
"""
UNDO = "DELETE FROM rate_limit_policies WHERE name = 'limits-check'"


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0009_no_login_policy")]

    operations = [migrations.RunSQL(CHECK_QUOTA, UNDO)]
