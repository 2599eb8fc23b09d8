"""Tests of addresses that are written without reading the pages: they are those of the URLconf."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from django.contrib.admin.utils import quote
from django.urls import reverse, set_script_prefix

from opsconsole.kit import addresses, admin_pages


@pytest.fixture(params=["/", "/console/"], autouse=True)
def _mounted(request: pytest.FixtureRequest) -> Iterator[None]:
    set_script_prefix(request.param)
    yield
    set_script_prefix("/")


def models() -> list[str]:
    return [f"{model._meta.app_label}_{model._meta.model_name}" for model in admin_pages.site()._registry]


def test_lists_are_where_the_urlconf_has_them() -> None:
    assert {"jobs_sweep", "django_q_failure", "admin_logentry"} <= {*models()}
    assert [addresses.of_list(model) for model in models()] == [
        reverse(f"admin:{model}_changelist") for model in models()
    ]


@pytest.mark.parametrize("key", [7, uuid4(), "a/b", "ü ?#&%", "_5F", 'x"<y>', "//z", "a;b:c@d~e"])
def test_rows_are_where_the_urlconf_has_them(key: object) -> None:
    assert [addresses.of_row(model, key) for model in models()] == [
        reverse(f"admin:{model}_change", args=[quote(str(key))]) for model in models()
    ]
