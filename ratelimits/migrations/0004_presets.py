"""The presets: policies that are there from the start. Operators may change them; they are not made again."""

from django.db import migrations

PRESETS = """
INSERT INTO rate_limit_policies
       (name, "limit", window_seconds, algorithm, mode, key, path_prefixes, methods, allow_networks, deny_networks,
        when_store_is_away, position, changed_at, changed_by)
SELECT name, most, seconds, 'moving', 'enforce', counts_by, '{}', '{}', '{}', '{}', 'local', place, now(), 'console'
  FROM (VALUES ('strict', 10, 60, 'default', 10), ('standard', 100, 60, 'default', 20),
               ('relaxed', 1000, 60, 'default', 30), ('api-key', 10000, 3600, 'api_key', 40))
       AS preset (name, most, seconds, counts_by, place)
    ON CONFLICT (name) DO NOTHING
"""
UNDO = "DELETE FROM rate_limit_policies WHERE name IN ('strict', 'standard', 'relaxed', 'api-key')"


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0003_policies")]

    operations = [migrations.RunSQL(PRESETS, UNDO)]
