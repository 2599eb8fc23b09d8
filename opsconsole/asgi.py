"""The ASGI application. It refuses to serve with settings that the system checks refuse."""

import os

from django.core.asgi import get_asgi_application
from django.core.management import call_command

from opsconsole.timeouts import limit_statements

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsconsole.settings")
application = get_asgi_application()
limit_statements()
call_command("check", tags=["opsconsole"])
