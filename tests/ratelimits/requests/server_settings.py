"""The console's settings with the tests' views, for servers that run as separate processes."""

from opsconsole.settings import *  # noqa: F403

ROOT_URLCONF = "tests.ratelimits.requests.views"
ALLOWED_HOSTS = ["*"]
