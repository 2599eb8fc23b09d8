"""A test of what Django checks of the pages before any command runs, which no other test asks for."""

from __future__ import annotations

from django.contrib import admin


def test_no_page_of_the_admin_is_refused_by_django() -> None:
    errors = [str(each) for page in admin.site._registry.values() for each in page.check()]

    assert errors == []
