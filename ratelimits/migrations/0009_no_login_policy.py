"""Remove the policy of the log-in, unless somebody edited it: it counted requests, so that a stranger behind the same
proxy could keep everybody out. Failed log-ins are counted instead (opsconsole.sign_in.failures)."""

from django.db import migrations

REMOVE = """
DELETE FROM rate_limit_policies
 WHERE name = 'login' AND changed_by = 'console' AND "limit" = 10 AND window_seconds = 60 AND mode = 'enforce'
   AND key = 'address' AND path_prefixes = '{/admin/login/}' AND methods = '{POST}'
"""
RESTORE = """
INSERT INTO rate_limit_policies
       (name, "limit", window_seconds, algorithm, mode, key, path_prefixes, methods, allow_networks, deny_networks,
        when_store_is_away, position, changed_at, changed_by)
VALUES ('login', 10, 60, 'moving', 'enforce', 'address', '{/admin/login/}', '{POST}', '{}', '{}', 'local', 5, now(), 'console')
    ON CONFLICT (name) DO NOTHING
"""


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0008_unread_header")]

    operations = [migrations.RunSQL(REMOVE, RESTORE)]
