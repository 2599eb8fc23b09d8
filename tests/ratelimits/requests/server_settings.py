"""The console's settings with the tests' limited views, for servers that are processes of their own."""

from opsconsole.settings import *  # noqa: F403

ROOT_URLCONF = "tests.ratelimits.requests.views"
ALLOWED_HOSTS = ["*"]
