"""A browser user that collects the messages of the browser's console."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, ConsoleMessage, Page

from tests import people


class Visitor:
    def __init__(self, browser: Browser, address: str) -> None:
        self.browser = browser
        self.address = address
        self.complaints: list[str] = []
        self.pages: list[Page] = []
        # An allowed message in the browser's console, for example about a response with status 400.
        self.expected: str | None = None

    def log_in(self, name: str, *, width: int = 1440, scheme: Any = "light") -> Page:
        """Return the overview, opened by a browser that has the session of this user.

        To load the form of the login, too, takes longer than most other steps (``log_in_with_the_form``).
        """
        page = self.stranger(width=width, scheme=scheme)
        client = Client()
        client.force_login(User.objects.get(username=name))
        session = client.session.session_key or ""
        page.context.add_cookies(
            [{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": self.address}]
        )
        page.goto(f"{self.address}/admin/")
        return page

    def log_in_with_the_form(self, name: str, *, width: int = 1440) -> Page:
        page = self.stranger(width=width)
        page.goto(f"{self.address}/admin/")
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(people.PASSWORD)
        page.get_by_role("button", name="Log in").click()
        return page

    def stranger(self, *, width: int = 1440, scheme: Any = "light") -> Page:
        context = self.browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        context.set_default_timeout(30_000)
        page = context.new_page()
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.pages.append(page)
        return page

    def _note(self, message: ConsoleMessage) -> None:
        if self.expected and self.expected in message.text:
            return
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def close(self) -> None:
        for page in self.pages:
            page.context.close()
