"""Tests of a cluster's progress: a probe that ran and was acknowledged, and schedules started on time."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.models import OrmQ
from django_q.tasks import async_task

from opsconsole.cluster import packages, schedules, supervised
from opsconsole.cluster.broker import CLUSTER_ID, ProbedBroker, private_queue
from opsconsole.cluster.supervised import BOOT_SECONDS, SCHEDULER_SECONDS, Watch
from opsconsole.cluster.tasks import tick
from opsconsole.kit.models import KEPT, ClusterProgress

pytestmark = pytest.mark.django_db

STALL = 90


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(clock: Clock, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Watch:
    settings.OPSCONSOLE_CLUSTER_STALL_SECONDS = STALL
    # As with a short time, so that the tests can say by the second when a stall is told.
    monkeypatch.setattr(supervised, "LOOK_SECONDS", 1.0)
    return Watch("ours", clock)


def look(watch: Watch, clock: Clock, after: float) -> str | None:
    clock.now += after
    return watch.look()


def waiting() -> list[OrmQ]:
    return list(OrmQ.objects.filter(key=private_queue("ours")))


def args_of(message: OrmQ) -> Any:
    return packages.unpack(message.payload)["args"]


def run_probes(*, run: bool = True, acknowledge: bool = True) -> None:
    for message in waiting():
        if run:
            tick(*args_of(message))
        if acknowledge:
            message.delete()


def test_cluster_with_acknowledged_probes_is_healthy(watch: Watch, clock: Clock) -> None:
    for _ in range(200):
        assert look(watch, clock, 5) is None
        run_probes()
    # One probe at the first look, then one per third of the time within which a probe is expected.
    assert ClusterProgress.objects.get(pk="ours").probe == 1 + 995 // (STALL // 3)


@pytest.mark.parametrize(
    ("run", "acknowledge"),
    [(False, False), (True, False), (False, True)],
    ids=["lost", "not acknowledged", "not run"],
)
def test_unacknowledged_probe_is_a_standstill(
    watch: Watch, clock: Clock, run: bool, acknowledge: bool
) -> None:
    look(watch, clock, 1)
    run_probes()
    look(watch, clock, 30)
    run_probes(run=run, acknowledge=acknowledge)
    assert look(watch, clock, STALL) is None
    assert look(watch, clock, 1) == f"no task came through it for {STALL + 1} s"


def test_new_cluster_has_longer_deadline(watch: Watch, clock: Clock) -> None:
    look(watch, clock, 1)
    assert look(watch, clock, BOOT_SECONDS + STALL - 1) is None
    assert look(watch, clock, 1) == f"no task came through it for {STALL + 1} s"
    watch.begin()
    assert look(watch, clock, BOOT_SECONDS + STALL - 2) is None


def test_restart_deletes_earlier_probes(watch: Watch, clock: Clock) -> None:
    look(watch, clock, 1)
    (before,) = waiting()
    watch.begin()
    look(watch, clock, 1)
    (after,) = waiting()
    assert after.pk != before.pk


def test_checks_are_no_more_frequent_than_needed(watch: Watch, clock: Clock) -> None:
    assert look(watch, clock, 0.5) is None
    assert not waiting()
    look(watch, clock, 0.5)
    assert len(waiting()) == 1


def test_supervisor_rests_until_the_next_look(watch: Watch, clock: Clock) -> None:
    assert watch.rest == 1
    look(watch, clock, 1)
    assert len(waiting()) == 1
    assert watch.rest == 1
    clock.now += 0.25
    assert watch.rest == 0.75
    clock.now += 2
    assert watch.rest < 0


def probe_regularly(watch: Watch, clock: Clock, seconds: float) -> list[str]:
    said = []
    for _ in range(round(seconds / 5)):
        said.append(look(watch, clock, 5))
        run_probes()
    return [sentence for sentence in said if sentence]


def test_schedule_that_is_not_started_is_a_standstill(watch: Watch, clock: Clock) -> None:
    schedules.sync()
    schedules.ours().update(next_run=timezone.now() + timedelta(hours=1))
    late = schedules.ours()[0]
    schedules.ours().filter(pk=late.pk).update(next_run=timezone.now() - timedelta(hours=4))
    # The delay counts from when the schedule was first seen due: the cluster may have been down for long.
    assert probe_regularly(watch, clock, STALL + SCHEDULER_SECONDS + 5) == []
    (said,) = probe_regularly(watch, clock, 5)
    assert (
        said
        == f"the schedule '{late.name}' has been due for {STALL + SCHEDULER_SECONDS + 5:.0f} s and was not started"
    )


def test_advancing_schedule_is_no_standstill(watch: Watch, clock: Clock) -> None:
    schedules.sync()
    for minute in range(10):
        schedules.ours().update(next_run=timezone.now() - timedelta(minutes=20 - minute))
        assert probe_regularly(watch, clock, 60) == []


def test_paused_schedule_is_no_standstill(watch: Watch, clock: Clock) -> None:
    schedules.sync()
    schedules.ours().update(next_run=timezone.now() - timedelta(days=1), repeats=schedules.PAUSED)
    assert probe_regularly(watch, clock, 10 * STALL) == []


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_state_is_unknown_during_database_outage(
    watch: Watch,
    clock: Clock,
    error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "opsconsole.cluster.supervised")

    def refuse() -> None:
        raise error("connection refused\nIs the server running?")

    look(watch, clock, 1)
    with monkeypatch.context() as away:
        away.setattr(supervised, "_answer_soon", refuse)
        # Closing the connection would end the test's transaction.
        away.setattr(connection, "close", lambda: None)
        assert [look(watch, clock, STALL) for _ in range(5)] == [None] * 5
    assert look(watch, clock, 1) is None
    assert [
        record.getMessage() for record in caplog.records if record.name == "opsconsole.cluster.supervised"
    ] == [
        "The database does not answer; whether the cluster works is unknown: connection refused",
        "The database answers again.",
    ]
    look(watch, clock, 1)
    assert look(watch, clock, BOOT_SECONDS + STALL - 2) is None


def test_restarts_are_recorded_with_reason(watch: Watch, clock: Clock) -> None:
    look(watch, clock, 1)
    watch.note_restart("first")
    watch.note_restart("second")
    assert ClusterProgress.objects.values_list("restarts", "restart_reason").get() == (2, "second")


def test_start_cleans_up_after_killed_supervisors(watch: Watch, clock: Clock) -> None:
    now = timezone.now()
    for name, age in (("forgotten", KEPT + timedelta(minutes=1)), ("another", KEPT - timedelta(minutes=1))):
        ClusterProgress.objects.create(pk=name, hostname="host", progressed_at=now - age)
        async_task("opsconsole.cluster.tasks.tick", name, 1, cluster=private_queue(name))
    look(watch, clock, 1)
    assert sorted(ClusterProgress.objects.values_list("pk", flat=True)) == ["another", "ours"]
    assert sorted(args_of(message)[0] for message in OrmQ.objects.all()) == ["another", "ours"]


def test_stop_cleans_up_own_rows(watch: Watch, clock: Clock) -> None:
    ClusterProgress.objects.create(pk="another", hostname="host")
    look(watch, clock, 1)
    watch.leave()
    assert not waiting()
    assert list(ClusterProgress.objects.values_list("pk", flat=True)) == ["another"]


class TestBroker:
    @pytest.fixture
    def broker(self, monkeypatch: pytest.MonkeyPatch) -> ProbedBroker:
        monkeypatch.setenv(CLUSTER_ID, "ours")
        broker = get_broker()
        assert isinstance(broker, ProbedBroker)
        return broker

    def test_probe_precedes_tasks_and_reaches_only_its_cluster(
        self,
        broker: ProbedBroker,
        monkeypatch: pytest.MonkeyPatch,
        django_assert_num_queries: Any,
    ) -> None:
        async_task("opsconsole.cluster.tasks.tick", "task", 1)
        async_task("opsconsole.cluster.tasks.tick", "other", 1, cluster=private_queue("other"))
        async_task("opsconsole.cluster.tasks.tick", "ours", 1, cluster=private_queue("ours"))
        taken = [args_of(OrmQ.objects.get(pk=pk))[0] for _ in range(2) for pk, _ in broker.dequeue() or []]
        assert taken == ["ours", "task"]
        monkeypatch.setattr("opsconsole.cluster.broker.sleep", lambda _: None)
        with django_assert_num_queries(1):
            assert broker.dequeue() is None

    def test_unsupervised_cluster_uses_stock_behaviour(
        self, broker: ProbedBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(CLUSTER_ID)
        async_task("opsconsole.cluster.tasks.tick", "ours", 1, cluster=private_queue("ours"))
        async_task("opsconsole.cluster.tasks.tick", "task", 1)
        ((pk, _),) = broker.dequeue() or []
        assert args_of(OrmQ.objects.get(pk=pk)) == ("task", 1)

    def test_acknowledged_probe_is_deleted(self, broker: ProbedBroker) -> None:
        async_task("opsconsole.cluster.tasks.tick", "ours", 1, cluster=private_queue("ours"))
        ((pk, _),) = broker.dequeue() or []
        broker.acknowledge(pk)
        assert not waiting()
