"""The console's settings plus procrastinate's Django app, so that one process serves both admins."""

from opsconsole.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "procrastinate.contrib.django"]  # noqa: F405
ROOT_URLCONF = "bench.pages_urls"
ALLOWED_HOSTS = ["testserver"]
# No time limit, because the duration of the pages is measured.
OPSCONSOLE_PAGE_TIMEOUT_SECONDS = 0
