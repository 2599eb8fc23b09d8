"""The metrics of a deployment: several processes that come and go, scraped by a real Prometheus with the shipped rules."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.parse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.counting import TOKEN, Key, samples
from tests.field.console import Console
from tests.field.installed import installed
from tests.programs import program
from tests.prometheus import FOLDER, dashboard_queries, rules
from tests.serving import free_port
from tests.waiting import wait_until

LOGIN = ("method", "GET"), ("route", "/admin/login/"), ("status", "200")


def scrape(port: int, token: str = TOKEN) -> tuple[int, str]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as client:
        client.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"})
        answer = client.getresponse()
        return answer.status, answer.read().decode()


def ask_for_pages(port: int, times: int) -> None:
    for _ in range(times):
        with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as client:
            client.request(
                "GET", "/admin/login/", headers={"Host": "localhost", "X-Forwarded-Proto": "https"}
            )
            assert client.getresponse().read()


def counted(port: int) -> dict[Key, float]:
    status, text = scrape(port)
    assert status == 200, text
    return samples(text)


def workers_of(folder: str) -> set[int]:
    """Return the processes that count into this folder and were forked by one that does: gunicorn's, but for the first."""
    counting = {each.pid: each.ppid() for each in psutil.process_iter() if _counts(each, folder)}
    return {pid for pid, parent in counting.items() if parent in counting}


def _counts(process: psutil.Process, folder: str) -> bool:
    try:
        return bool(process.environ().get("OPSCONSOLE_METRICS_DIR") == folder)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


@contextmanager
def prometheus(folder: Path, console: int) -> Iterator[int]:
    """Run Prometheus with the shipped job and rules, every second; yield its port."""
    shipped = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    [job] = shipped["scrape_configs"]
    (folder / "token").write_text(TOKEN)
    job |= {
        "scheme": "http",
        "scrape_interval": "1s",
        "authorization": {"credentials_file": str(folder / "token")},
        "static_configs": [{"targets": [f"127.0.0.1:{console}"]}],
    }
    config = folder / "prometheus.yml"
    shipped |= {"rule_files": [str(FOLDER / "opsconsole.rules.yml")], "global": {"evaluation_interval": "1s"}}
    config.write_text(yaml.safe_dump(shipped))
    port = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        command = [
            installed("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with program(command, stdout=log, stderr=subprocess.STDOUT):
            yield port


def query(port: int, expression: str) -> list[dict[str, Any]]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as client:
        client.request("GET", f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        answer = json.loads(client.getresponse().read())
    assert answer["status"] == "success", (expression, answer)
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def firing(port: int) -> set[str]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as client:
        client.request("GET", "/api/v1/alerts")
        answer = json.loads(client.getresponse().read())
    return {alert["labels"]["alertname"] for alert in answer["data"]["alerts"]}


def test_processes_are_counted_together_over_restarts_and_prometheus_reads_them(console: Console) -> None:
    installed("prometheus")
    counting: dict[str, Any] = {
        "OPSCONSOLE_METRICS_TOKENS": TOKEN,
        "OPSCONSOLE_METRICS_DIR": str(console.folder / "metrics"),
        "OPSCONSOLE_LOG_FORMAT": "json",
        # gunicorn names its processes. /proc shows their environment all the same.
        "SPT_NOENV": "1",
    }
    secrets: dict[str, Any] = {
        "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T0/B0/a-secret-of-slack"
    }
    console.database.sql(
        "INSERT INTO jobs (customer_id, package_size, status) VALUES ('c-1', 50, 'quarantined')"
    )
    with console.served(**counting, **secrets) as proxy, prometheus(console.folder, proxy.console) as port:
        web = proxy.console
        assert scrape(web, "wrong")[0] == 401
        before = counted(web).get(("opsconsole_http_requests_total", LOGIN), 0.0)
        ask_for_pages(web, 12)
        assert console.run("recover_stale_jobs", **counting).returncode == 0
        now = counted(web)
        assert now["opsconsole_http_requests_total", LOGIN] - before == 12
        assert now["opsconsole_sqs_calls_total", (("answer", "ok"), ("operation", "GetQueueAttributes"))] >= 1
        swept = sum(value for (name, _), value in now.items() if name == "opsconsole_sweeps_total")
        assert swept == 1
        old = workers_of(counting["OPSCONSOLE_METRICS_DIR"])
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        wait_until(
            lambda: len(workers_of(counting["OPSCONSOLE_METRICS_DIR"]) - old) == 2,
            timeout=60,
            what="gunicorn's new processes",
        )
        ask_for_pages(web, 3)
        now = counted(web)
        assert now["opsconsole_http_requests_total", LOGIN] - before == 15
        left = {path.stem.split(".")[-2] for path in _files(console) if "_kept." not in path.stem}
        assert not left & {str(pid) for pid in old}
        _check_text(scrape(web)[1])
        _check_rules()
        wait_until(lambda: query(port, "opsconsole_build_info"), timeout=60, what="the first scrape")
        wait_until(lambda: "OpsConsoleJobsQuarantined" in firing(port), timeout=60, what="the rule")
        for expression in [*dashboard_queries(), *(rule["expr"] for rule in rules())]:
            query(port, expression)
        [quarantined] = query(port, 'max(opsconsole_jobs{state="quarantined"})')
        assert quarantined["value"][1] == "1"
    _check_log(console, secrets["SLACK_WEBHOOK_URL"])


def _files(console: Console) -> list[Path]:
    return list((console.folder / "metrics").glob("*.db"))


def _check_text(text: str) -> None:
    """Let Prometheus' own tool judge the names."""
    checked = subprocess.run(
        [installed("promtool"), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stderr


def _check_rules() -> None:
    command = [installed("promtool"), "check", "rules", str(FOLDER / "opsconsole.rules.yml")]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def _check_log(console: Console, secret: str) -> None:
    """Check that each line is an object, gunicorn's too, and that requests are told without secrets."""
    written = console.web_log().splitlines()
    lines = [json.loads(line) for line in written if line.startswith("{")]
    # What the checks print at the start is no log, and has no time.
    assert not [line for line in written if re.match(r"\[?\d{4}-\d\d-\d\d", line)]
    assert {"gunicorn.error", "opsconsole.access"} <= {line["logger"] for line in lines}
    pages = [line for line in lines if line["event"] == "GET /admin/login/"]
    assert len(pages) == 15
    assert all(line["status"] == 200 and line["ms"] > 0 and line["request"] for line in pages)
    assert not [line for line in lines if "/metrics" in line["event"] and line.get("status") == 200]
    assert secret not in console.web_log()
