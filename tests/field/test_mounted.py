"""The console below a path of a host, as it is shipped and under uvicorn: pages, their files, polls and probes."""

from __future__ import annotations

import re
from html import unescape

import pytest

from tests.field.console import NAME, PASSWORD, Console, Serve
from tests.field.visitor import Visitor
from tests.serving import gunicorn, uvicorn

ADDRESS = re.compile(r'(?:href|src|action|data-live)="(/[^"]*)"')


@pytest.mark.parametrize("serve", [gunicorn, uvicorn])
def test_console_below_a_path(console: Console, serve: Serve) -> None:
    from alerts import notify
    from alerts.models import Alert
    from alerts.notify import Trouble

    with console.database.as_default():
        # As the cluster and its loops store it.
        notify.fire(
            "disk", Trouble(title="Disk full", severity="critical", link="/admin/jobs/job/?stale=any")
        )
        alert = Alert.objects.get().pk

    with console.served(serve=serve, SCRIPT_NAME="/ops") as proxy, Visitor(proxy) as visitor:
        assert visitor.get("/ops/").headers["Location"] == "/ops/admin/"
        fields = {"username": NAME, "password": PASSWORD, "next": "/ops/admin/"}
        assert visitor.post("/ops/admin/login/", fields).headers["Location"] == "/ops/admin/"
        for page in (
            "/ops/admin/",
            "/ops/admin/jobs/job/",
            f"/ops/admin/alerts/alert/{alert}/change/",
            "/ops/api/docs",
        ):
            shown = visitor.get(page)
            assert shown.status == 200, page
            named = {unescape(address) for address in ADDRESS.findall(shown.text)}
            assert [address for address in named if not address.startswith("/ops/")] == []
            files = [address for address in named if address.startswith("/ops/static/")]
            assert files and {visitor.get(file).status for file in files} == {200}
        assert (
            "/ops/admin/jobs/job/?stale=any" in visitor.get(f"/ops/admin/alerts/alert/{alert}/change/").text
        )
        assert visitor.get("/ops/admin/", **{"X-Poll": "1"}).status == 200
        assert visitor.get("/ops/healthz").status == visitor.get("/healthz").status == 200
        assert visitor.get("/ops/api/nothing").headers["Content-Type"] == "application/problem+json"
        if serve is gunicorn:
            assert visitor.get("/admin/login/").status == 404
