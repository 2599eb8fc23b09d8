"""The pages of the admin, which are read only where they are shown or listed: a worker or a sender needs none of them."""

from __future__ import annotations

from functools import cache

from django.contrib import admin


@cache
def site() -> admin.AdminSite:
    """Return the admin site, once every page is registered."""
    admin.autodiscover()
    return admin.site
