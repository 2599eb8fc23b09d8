"""The row of the global mode, and the preset policies. Operators may change both; they are not created again."""

from django.db import migrations

SWITCH = """
INSERT INTO rate_limit_control (id, salt)
VALUES (1, replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''))
    ON CONFLICT (id) DO NOTHING
"""

# login covers the only form that is open to anonymous visitors.
PRESETS = """
INSERT INTO rate_limit_policies
       (name, "limit", window_seconds, algorithm, mode, key, path_prefixes, methods, allow_networks, deny_networks,
        when_store_is_away, position, changed_at, changed_by)
SELECT name, most, seconds, 'moving', 'enforce', counts_by, paths, methods, '{}', '{}', 'local', place, now(), 'console'
  FROM (VALUES ('strict', 10, 60, 'default', '{}'::text[], '{}'::text[], 10),
               ('standard', 100, 60, 'default', '{}', '{}', 20),
               ('relaxed', 1000, 60, 'default', '{}', '{}', 30),
               ('api-key', 10000, 3600, 'api_key', '{}', '{}', 40),
               ('login', 10, 60, 'address', '{/admin/login/}', '{POST}', 5))
       AS preset (name, most, seconds, counts_by, paths, methods, place)
    ON CONFLICT (name) DO NOTHING
"""
UNDO = "DELETE FROM rate_limit_policies WHERE name IN ('strict', 'standard', 'relaxed', 'api-key', 'login')"


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0003_functions_and_triggers")]

    operations = [
        migrations.RunSQL(SWITCH, migrations.RunSQL.noop),
        migrations.RunSQL(PRESETS, UNDO),
    ]
