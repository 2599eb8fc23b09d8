"""Tests of traces: sent as OTLP over HTTP and decoded here; the collector of OpenTelemetry itself is not part of the tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from jobs.intake.enqueue import NewJob, enqueue
from jobs.messaging.dispatcher import dispatch
from jobs.models import Job, JobEvent, RecoveryControl
from jobs.recovery.sweeps import sweep
from jobs.worker import Consumer, RunContext, RunningJob
from jobs.worker.traced import traced
from opsconsole import logs
from opsconsole.kit import tracing
from opsconsole_worker import sqs
from opsconsole_worker.messages import JobMessage
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.sqs import Attribute
from opsconsole_worker.working.execution import carry_out
from tests import factories
from tests.collector import Report, collector
from tests.conftest import TestQueue
from tests.repository import REPOSITORY
from tests.serving import free_port

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
# As where the extra is not installed.
WITHOUT_THE_EXTRA = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
"""
FORK = """
def send(name):
    with tracing.span(name):
        pass
    tracing._tracer().span_processor.force_flush()

send("parent")
tracing._beginning.acquire()
child = os.fork()
if not child:
    send("child")
    os._exit(0)
tracing._beginning.release()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
PROGRAM = """
import django, os, threading
django.setup()
from django.core.management import call_command
from django.http import HttpResponse
from django.test import RequestFactory
from opsconsole.access_log import AccessLogMiddleware
from opsconsole.kit import sqs_call_metrics as call_metrics, tracing

# gunicorn and run_cluster fork after this: a thread would hold locks that forks copy.
assert threading.active_count() == 1, threading.enumerate()

def page(request):
    with tracing.span("part", {"opsconsole.long": "x" * 5_000}):
        class Model:
            name = "SendMessageBatch"
        context = {}
        call_metrics._begin(model=Model, context=context)
        call_metrics._end(model=Model, parsed={"Error": {"Code": "AWS.QueueGone"}}, context=context)
    try:
        with tracing.span("failing"):
            raise ValueError("DETAIL: Failing row contains CARD-4111")
    except ValueError:
        pass
    return HttpResponse(status=503)

answer = AccessLogMiddleware(page)
for address in os.environ["PEERS"].split():
    request = RequestFactory().get("/admin/jobs/?q=CARD-4111", headers={"traceparent": os.environ["PARENT"]}, REMOTE_ADDR=address)
    assert answer(request).status_code == 503
AccessLogMiddleware(lambda _request: HttpResponse())(RequestFactory().get("/healthz"))
# Outside of a trace there is none: workers ask for messages all day.
context = {}
call_metrics._begin(model=type("Model", (), {"name": "ReceiveMessage"}), context=context)
call_metrics._fail(event_name="after-call-error.sqs.ReceiveMessage", exception=OSError(), context=context)
"""


def run(endpoint: str, *, before: str = "", after: str = "") -> subprocess.CompletedProcess[str]:
    """Answer a request of a trusted proxy and one of a stranger, and end."""
    return subprocess.run(
        [sys.executable, "-c", before + PROGRAM + after],
        cwd=REPOSITORY,
        env={
            "PATH": os.environ["PATH"],
            "DJANGO_SETTINGS_MODULE": "opsconsole.settings",
            "OPSCONSOLE_ENV": "development",
            "DATABASE_URL": "postgres://unused.invalid/unused",
            "CACHE_URL": "redis://unused.invalid",
            "OPSCONSOLE_TRUSTED_PROXIES": "10.0.0.7",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret-of-the-collector",
            "PEERS": "10.0.0.7 192.0.2.1",
            "PARENT": PARENT,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def spans_of(reports: list[Report]) -> list[dict[str, Any]]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found = []
    for report in reports:
        assert report.path == "/v1/traces"
        sent = ExportTraceServiceRequest()
        sent.ParseFromString(report.body)
        for resource in sent.resource_spans:
            about = {each.key: each.value.string_value for each in resource.resource.attributes}
            assert about["service.name"] == "opsconsole"
            for scope in resource.scope_spans:
                found += [
                    {
                        "name": each.name,
                        "id": each.span_id,
                        "parent": each.parent_span_id,
                        "trace": each.trace_id.hex(),
                        "failed": each.status.message,
                        "events": len(each.events),
                        "facts": {a.key: a.value.string_value or a.value.int_value for a in each.attributes},
                    }
                    for each in scope.spans
                ]
    return found


def test_request_and_its_parts_are_one_trace_without_contents() -> None:
    with collector() as (port, received):
        done = run(f"http://127.0.0.1:{port}/")
    assert done.returncode == 0, done.stderr
    spans = spans_of(received)
    assert sorted(span["name"] for span in spans) == sorted(
        2 * ["GET (unknown)", "SQS SendMessageBatch", "failing", "part"]
    )
    believed = [span for span in spans if span["trace"] == PARENT[3:35]]
    assert len(believed) == 4, "a stranger chose the trace, or a proxy could not"
    by_name = {span["name"]: span for span in believed}
    request, part, call = (by_name[name] for name in ("GET (unknown)", "part", "SQS SendMessageBatch"))
    assert request["parent"].hex() == PARENT[36:52]
    assert part["parent"] == request["id"] and call["parent"] == part["id"]
    assert request["facts"]["http.response.status_code"] == 503 and request["failed"] == "503"
    assert re.fullmatch(r"[0-9a-f]{32}", request["facts"]["opsconsole.request"])
    assert call["facts"]["opsconsole.answer"] == call["failed"] == "QueueGone"
    assert len(part["facts"]["opsconsole.long"]) == 300
    assert by_name["failing"]["failed"] == "ValueError"
    assert not [span for span in spans if span["events"]]
    assert "CARD-4111" not in repr(spans)
    assert {report.headers["api-key"] for report in received} == {"secret-of-the-collector"}
    assert "secret-of-the-collector" not in done.stderr + repr(spans)


def test_collector_that_is_away_stops_nothing() -> None:
    done = run(f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 0, done.stderr
    assert "secret-of-the-collector" not in done.stderr


def test_fork_sends_what_it_does_itself() -> None:
    with collector() as (port, received):
        done = run(f"http://127.0.0.1:{port}", after=FORK)
    assert done.returncode == 0, done.stderr
    names = [span["name"] for span in spans_of(received)]
    assert [names.count(name) for name in ("parent", "child", "part")] == [1, 1, 2]


def test_without_an_endpoint_no_package_is_needed_and_with_one_its_absence_is_told() -> None:
    done = run("", before=WITHOUT_THE_EXTRA)
    assert done.returncode == 0, done.stderr
    done = run("http://127.0.0.1:4318", before=WITHOUT_THE_EXTRA)
    assert done.returncode == 1
    assert (
        "OTEL_EXPORTER_OTLP_ENDPOINT is set, and the packages that send traces are not installed."
        in done.stderr
    )
    assert "opsconsole[traces]" in done.stderr


@pytest.fixture
def finished(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[ReadableSpan]]]:
    """Trace in this process, and return the spans that ended."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_prepared", [lambda: provider.get_tracer("test")])
    monkeypatch.setattr(tracing, "_tracers", [])
    yield lambda: list(exporter.get_finished_spans())
    provider.shutdown()


@pytest.mark.django_db(transaction=True)
def test_send_run_and_sweep_are_traced_without_the_payload(
    finished: Callable[[], list[ReadableSpan]], sqs_queue: TestQueue
) -> None:
    RecoveryControl.objects.get_or_create(pk=1)  # Other tests empty all tables.
    job, ada = factories.job(payload={"card": "CARD-4111"}), Worker("ada")
    factories.letter(job)
    assert dispatch().sent == 1
    claimed = lifecycle.claim(job.pk, None, ada)
    assert isinstance(claimed, RunningJob)

    def work(context: RunContext) -> None:
        raise ValueError(f"It failed with {context.job.payload}")

    carry_out(claimed, ada, traced(work, "default"))
    row = sweep("test")
    spans = {span.name: span for span in finished()}
    batch, call = spans["outbox batch"], spans["SQS SendMessageBatch"]
    assert batch.attributes and batch.attributes["opsconsole.messages"] == 1
    assert call.parent and batch.context and call.parent.span_id == batch.context.span_id
    run_span, sweep_span = spans["run"], spans["sweep"]
    assert run_span.attributes == {
        "opsconsole.job": str(job.pk),
        "opsconsole.run": 1,
        "opsconsole.queue": "default",
    }
    assert run_span.status.description == "ValueError"
    assert sweep_span.attributes and sweep_span.attributes["opsconsole.sweep"] == row.pk
    assert "CARD-4111" not in "".join(span.to_json() for span in spans.values())


@pytest.mark.django_db(transaction=True)
def test_trace_goes_on_from_the_acceptance_of_a_job_to_each_of_its_runs(
    finished: Callable[[], list[ReadableSpan]], sqs_queue: TestQueue, settings: Any
) -> None:
    """The message carries it beside its body; a run that was begun by a message without it, or with nonsense, begins a trace."""
    settings.OPSCONSOLE_RETRY_BACKOFF_SECONDS = 0
    failures = [ValueError("the directory answered 502"), None, None, None]

    def work(context: RunContext) -> None:
        if context.job.customer_id == "TEST-001" and (failure := failures.pop(0)):
            raise failure

    with tracing.span("request"):
        job = enqueue(NewJob(customer_id="TEST-001", package_size=50))
    other = enqueue(NewJob(customer_id="TEST-002", package_size=50))
    assert dispatch().sent == 2
    strange = factories.job()
    nonsense = {"traceparent": Attribute("00-zz-1-01"), "baggage": Attribute("x")}
    sqs.send_raw(sqs_queue.url, JobMessage(job_id=strange.pk, run_epoch=1).to_body(), nonsense)
    consumer = Consumer(settings.QUEUES["default"], traced(work, "default"), poll_seconds=0)
    for _ in range(3):
        consumer.poll()
    assert dispatch().sent == 1
    consumer.poll()

    spans = finished()
    [request] = [span for span in spans if span.name == "request"]
    runs = {
        span.attributes["opsconsole.job"]: span for span in spans if span.name == "run" and span.attributes
    }
    mine = [
        span
        for span in spans
        if span.name == "run" and span.attributes and span.attributes["opsconsole.job"] == str(job.pk)
    ]
    assert [span.attributes and span.attributes["opsconsole.run"] for span in mine] == [1, 2]
    for each in mine:
        assert request.context and each.context and each.parent
        assert each.context.trace_id == request.context.trace_id
        assert each.parent.span_id == request.context.span_id
    assert runs[str(other.pk)].parent is None and runs[str(strange.pk)].parent is None
    assert set(Job.objects.values_list("status", flat=True)) == {"completed"}


@pytest.mark.django_db
def test_without_traces_messages_have_no_attribute(sqs_queue: TestQueue) -> None:
    job = enqueue(NewJob(customer_id="TEST-001", package_size=50))
    assert JobEvent.objects.get(job_id=job.pk).details == {}
    assert dispatch().sent == 1
    [received] = sqs.receive(sqs_queue.url, wait_seconds=0)
    assert received.attributes == {}


def test_headers_for_the_collector_are_secrets() -> None:
    secrets = logs.secrets_of({"OTEL_EXPORTER_OTLP_HEADERS": "api-key=s3cret%20value,tenant=7"})
    assert "s3cret value" in secrets and "s3cret%20value" not in logs.without(secrets, "s3cret%20value")
