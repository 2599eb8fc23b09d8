"""Forms sent as a browser sends them: with the version of the page that shows them."""

from __future__ import annotations

import html
import re
from typing import Any

from django.test import Client

HIDDEN = re.compile(r'<input type="hidden" name="((?:[\w-]+-)?version)" value="([^"]*)"')


def send(client: Client, address: str, entries: dict[str, Any], *, page: str = "", **options: Any) -> Any:
    """Open the form, on its own page or another, and send these entries."""
    return client.post(address, versions_on(client.get(page or address, follow=True)) | entries, **options)


def versions_on(response: Any) -> dict[str, str]:
    """Return the version that each form of a page carries, by the name of its field."""
    return {name: html.unescape(value) for name, value in HIDDEN.findall(response.content.decode())}
