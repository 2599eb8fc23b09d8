"""Selected rows of a list whose keys are none, as a forged or cut form names them."""

from __future__ import annotations

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client
from django.urls import reverse

LISTS = {
    "ratelimits_apikey": "revoke_selected",
    "alerts_alert": "acknowledge_selected",
    "auth_user": "remove_second_factor",
    "django_q_schedule": "run_now",
    "jobs_job": "requeue_selected",
    "jobs_deadletter": "replay_selected",
    "jobs_failuregroup": "replay_selected",
}
KEYS = ["", "x", "*", "1e9", "-1", "9" * 50, "a\x00b", "\x00", "٣", '{"a": 1}']


@pytest.mark.django_db
@pytest.mark.parametrize("action", ["", "own"])
@pytest.mark.parametrize("page", LISTS)
def test_selected_row_that_cannot_be_one_is_left_out(operator: Client, page: str, action: str) -> None:
    address = reverse(f"admin:{page}_changelist")
    for key in KEYS:
        form = {"action": LISTS[page] if action else "", "index": "0", ACTION_CHECKBOX_NAME: key}
        assert operator.post(address, form).status_code in {200, 302, 409}, key


@pytest.mark.django_db
@pytest.mark.parametrize("page", [page for page in LISTS if page != "jobs_failuregroup"])
def test_action_without_a_selected_row_says_what_to_do(operator: Client, page: str) -> None:
    address = reverse(f"admin:{page}_changelist")
    answer = operator.post(address, {"action": LISTS[page], "index": "0"}, follow=True)
    assert answer.redirect_chain == [(address, 302)]
    shown = answer.content.decode()
    assert "were selected, so nothing was done. Select them by the boxes" in shown
    assert "Items must be selected" not in shown
