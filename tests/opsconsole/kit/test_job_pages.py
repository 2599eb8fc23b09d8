"""An id of text may hold anything: its page is found again."""

from __future__ import annotations

from urllib.parse import unquote as unquote_address

import pytest
from django.contrib.admin.utils import unquote
from django.urls import resolve, reverse

from opsconsole.kit.job_pages import job_page


@pytest.mark.parametrize(
    "job_id", ["a/b c", "日本 ü", "a_5Fb", "tab\tnl\n", "a?b=1&c#d", "%00", "../../etc", "x\"y'z"]
)
def test_page_of_a_job_is_found_by_any_id(job_id: str) -> None:
    match = resolve(unquote_address(job_page(job_id)))
    assert match.url_name == "jobs_job_change"
    assert unquote(match.kwargs["object_id"]) == job_id


def test_empty_id_leads_to_the_list() -> None:
    assert job_page("") == reverse("admin:jobs_job_changelist")
