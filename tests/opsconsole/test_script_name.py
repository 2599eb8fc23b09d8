"""Tests of the path under which the console is mounted, with what gunicorn makes of a client's headers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from alerts.channels import wording
from opsconsole import script_name
from opsconsole.kit import addresses


def seen(environ: dict[str, Any]) -> tuple[str, str]:
    received: dict[str, Any] = {}

    def application(given: dict[str, Any], _start: Any) -> Iterable[bytes]:
        received.update(given)
        return []

    script_name.ignoring_clients(application)(environ, None)
    assert script_name.HEADER not in received
    return received["SCRIPT_NAME"], received["PATH_INFO"]


@pytest.mark.parametrize(
    ("own", "environ", "expected"),
    [
        # gunicorn has cut the claimed name off the path.
        ("", {"HTTP_SCRIPT_NAME": "/x", "SCRIPT_NAME": "/x", "PATH_INFO": "/admin/"}, ("", "/x/admin/")),
        ("", {"HTTP_SCRIPT_NAME": "/%78", "SCRIPT_NAME": "/%78", "PATH_INFO": "/a"}, ("", "/x/a")),
        ("", {"HTTP_SCRIPT_NAME": "/a,/b", "SCRIPT_NAME": "/b", "PATH_INFO": "/c"}, ("", "/b/c")),
        (
            "/ops",
            {"HTTP_SCRIPT_NAME": "/o", "SCRIPT_NAME": "/o", "PATH_INFO": "ps/admin/"},
            ("/ops", "/admin/"),
        ),
        (
            "/ops",
            {"HTTP_SCRIPT_NAME": "", "SCRIPT_NAME": "", "PATH_INFO": "/ops/admin/"},
            ("/ops", "/admin/"),
        ),
        ("/ops", {"SCRIPT_NAME": "/ops", "PATH_INFO": "/admin/"}, ("/ops", "/admin/")),
        # Another name of the header does nothing.
        ("", {"HTTP_SCRIPT_NAME": "/x", "SCRIPT_NAME": "", "PATH_INFO": "/x/admin/"}, ("", "/x/admin/")),
        # Another server may mount the console by its own configuration.
        ("", {"SCRIPT_NAME": "/mounted", "PATH_INFO": "/admin/"}, ("/mounted", "/admin/")),
    ],
)
def test_only_the_server_mounts_the_console(
    own: str, environ: dict[str, Any], expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPT_NAME", own)
    assert seen(environ) == expected


@pytest.mark.parametrize(
    ("own", "path", "expected"),
    [
        ("", "/admin/", ("", "/admin/")),
        ("/ops", "/ops/admin/", ("/ops", "/admin/")),
        ("ops/", "/ops/admin/", ("/ops", "/admin/")),
        ("/ops", "/ops", ("/ops", "")),
        ("/ops", "/ops/ops/admin/", ("/ops", "/ops/admin/")),
        # A proxy's rules for /ops/admin/ would not hold for these.
        ("/ops", "/admin/", ("/ops", "//admin/")),
        ("/ops", "/opsadmin/", ("/ops", "//opsadmin/")),
        # Asked beside the proxy.
        ("/ops", "/readyz", ("", "/readyz")),
    ],
)
def test_pages_are_found_below_the_path_of_the_console(
    own: str, path: str, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPT_NAME", own)
    assert script_name.mounted(path) == expected


@pytest.mark.parametrize(
    "public", ["https://shop.example", "https://shop.example/", "https://shop.example/ops/"]
)
@pytest.mark.parametrize("link", ["/admin/jobs/job/?stale=hung", "/ops/admin/jobs/job/?stale=hung"])
def test_stored_addresses_lead_below_the_path(settings: Any, public: str, link: str) -> None:
    """The cluster stores addresses without the path, and pages with it."""
    settings.FORCE_SCRIPT_NAME, settings.OPSCONSOLE_PUBLIC_URL = "/ops", public
    assert addresses.mounted(link) == "/ops/admin/jobs/job/?stale=hung"
    assert wording.absolute(link) == "https://shop.example/ops/admin/jobs/job/?stale=hung"
    settings.FORCE_SCRIPT_NAME = None
    assert addresses.mounted("/admin/") == "/admin/"
    assert (
        addresses.mounted("https://x.example/")
        == wording.absolute("https://x.example/")
        == "https://x.example/"
    )
