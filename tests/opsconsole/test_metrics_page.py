"""Tests of /metrics: who may read it, what it has, and what it says of what it can't read."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import OperationalError
from django.test import Client
from pytest_django.fixtures import Settings

from jobs.models import QueueState
from opsconsole import metric_gauges, overview
from opsconsole.kit import metrics
from opsconsole.overview import current_figures
from opsconsole_worker.environment import QueueConfig
from tests import factories
from tests.counting import TOKEN, Counted, samples

pytestmark = pytest.mark.django_db

BEARER = {"authorization": f"Bearer {TOKEN}", "host": "10.0.0.7"}


def test_page_does_not_exist_without_its_setting(settings: Settings) -> None:
    settings.OPSCONSOLE_METRICS_TOKENS = []
    assert Client().get("/metrics", headers=BEARER).status_code == 404


@pytest.mark.parametrize("sent", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", "Bearer ", TOKEN])
def test_page_needs_a_token(counted: Counted, sent: str) -> None:
    answer = Client().get("/metrics", headers={"authorization": sent})
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert b"opsconsole_" not in answer.content


def test_requests_are_counted_without_a_write(counted: Counted, operator: Client) -> None:
    operator.get("/admin/jobs/job/?q=x")
    operator.get("/nowhere/7")
    Client().post("/healthz")
    route = "/admin/jobs/job/"
    assert counted("opsconsole_http_requests_total", method="GET", route=route, status="200") == 1
    assert counted("opsconsole_http_requests_total", method="GET", route="(unknown)", status="404") == 1
    assert counted("opsconsole_http_requests_total", method="POST", route="/healthz", status="405") == 1
    assert counted("opsconsole_http_request_duration_seconds_count", area="admin") == 1


def test_gauges_are_the_figures_of_the_overview_in_one_cached_reading(
    counted: Counted, settings: Settings
) -> None:
    settings.QUEUES = {name: QueueConfig(name, f"https://x/{name}", None) for name in ("default", "slow")}
    QueueState.objects.create(name="default", visible=7, in_flight=1, delayed=0, read_at="2026-01-01T00:00Z")
    QueueState.objects.create(
        name="slow", visible=9, read_at="2026-01-01T00:00Z", error="It does not answer."
    )
    factories.job()
    overview.memory.clear()
    scraped = samples(Client().get("/metrics", headers=BEARER).content.decode())
    assert scraped["opsconsole_jobs", (("state", "waiting"),)] == 1
    assert scraped["opsconsole_reading_success", ()] == 1
    assert scraped["opsconsole_queue_messages", (("queue", "default"), ("state", "visible"))] == 7
    assert scraped["opsconsole_queue_readable", (("queue", "slow"),)] == 0
    # Unknown is not zero.
    assert ("opsconsole_queue_messages", (("queue", "slow"), ("state", "visible"))) not in scraped
    names = {name for name, _ in scraped}
    assert not {name for name in names if name.startswith("opsconsole_") and not _is_known(name)}
    factories.job()
    again = samples(Client().get("/metrics", headers=BEARER).content.decode())
    assert again["opsconsole_jobs", (("state", "waiting"),)] == 1


def _is_known(name: str) -> bool:
    known = {metric.name for metric in metrics.ALL} | metric_gauges.GAUGES.keys()
    return name in known or name.rpartition("_")[0] in known


def test_counters_are_there_while_the_database_is_away(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise OperationalError("the connection is closed")

    monkeypatch.setattr(current_figures, "read", away)
    metrics.SWEEPS.count(mode="held")
    answer = Client().get("/metrics", headers=BEARER)
    scraped = samples(answer.content.decode())
    assert (answer.status_code, scraped["opsconsole_reading_success", ()]) == (200, 0)
    assert scraped["opsconsole_sweeps_total", (("mode", "held"),)] >= 1
    assert not [name for name, _ in scraped if name == "opsconsole_jobs"]


def test_gauges_are_there_while_nothing_can_be_counted(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings.OPSCONSOLE_METRICS_TOKENS = [TOKEN]
    settings.OPSCONSOLE_METRICS_DIR = tmp_path / "file"
    answer = Client().get("/metrics", headers=BEARER)
    scraped = samples(answer.content.decode())
    assert (answer.status_code, scraped["opsconsole_counters_readable", ()]) == (200, 0)
    assert scraped["opsconsole_reading_success", ()] == 1
