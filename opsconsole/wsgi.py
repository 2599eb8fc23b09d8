"""The WSGI application. It refuses to serve with settings that the system checks refuse."""

import os

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

from opsconsole import script_name
from opsconsole.timeouts import limit_statements

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsconsole.settings")
_handler = get_wsgi_application()
limit_statements()
call_command("check", tags=["opsconsole"])
call_command("check", tags=["store"], deploy=True)

# It imports the routes, which need Django and settings that the checks accept.
from opsconsole.api import checks_first  # noqa: E402

application = script_name.ignoring_clients(checks_first.before(_handler))
