"""Pages that update themselves: the view that shows a page also answers its polls, with its content or with 304.

A poll is the page's own address with the header ``X-Poll``: it asks for the same permissions, reads the same rows and
quotes the same as the page. Nothing is rendered while PostgreSQL has counted no write to the tables of the page. What
changes by time alone, such as an age, is rendered at least every ``RENDERED_EVERY`` seconds.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import Any, TypeAlias

from django.apps import apps
from django.contrib.auth.models import User
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import SimpleTemplateResponse

from opsconsole.kit.change_counters import writes_to
from opsconsole.sign_in.sessions import POLL_HEADER

View: TypeAlias = Callable[..., HttpResponse]

POLLED_EVERY = 5
RENDERED_EVERY = 30
# Every page shows what these tables say: in its navigation and its banners.
ON_EVERY_PAGE = ("alerts.Alert", "jobs.DeadLetter", "jobs.RecoveryControl", "opsconsole.Pause")
_TOKEN = re.compile(rb'name="csrfmiddlewaretoken" value="[^"]*"')
_VERSION = re.compile(r'"([0-9a-f]+)\.(\d+)\.(\d+)\.([0-9a-f]+)"')


@dataclass(frozen=True)
class Version:
    """What a browser has: ``state`` names what was counted, since when it is so, when it was rendered, and the text."""

    state: str
    since: int
    rendered_at: int
    text: str

    @classmethod
    def parse(cls, header: str) -> Version | None:
        """Read it from a header that a proxy may have made weak."""
        if match := _VERSION.search(header):
            return cls(match[1], int(match[2]), int(match[3]), match[4])
        return None

    def __str__(self) -> str:
        return f'W/"{self.state}.{self.since}.{self.rendered_at}.{self.text}"'

    def is_current(self, state: str, now: int, settled_after: int) -> bool:
        """Tell whether nothing was written since, and what was cached when it was rendered is as new as that."""
        return (
            self.state == state
            and now - self.since >= settled_after
            and 0 <= now - self.rendered_at < RENDERED_EVERY
        )


@dataclass(frozen=True)
class Followed:
    """The tables that a page reads, and for how many seconds it shows what was cached of them."""

    tables: tuple[str, ...]
    cached_for: int = POLLED_EVERY + 1

    @property
    def models(self) -> Sequence[type[Model]]:
        return [apps.get_model(label) for label in dict.fromkeys((*self.tables, *ON_EVERY_PAGE))]


def follows(*tables: str) -> Callable[[View], View]:
    """Let a page that no class of the admin shows update itself; it reads these tables."""

    def declare(view: View) -> View:
        view.followed = Followed(tables)  # type: ignore[attr-defined]  # our own attribute, read by the site
        return view

    return declare


def answering_polls(view: View, followed: Followed | None, may_enter: Callable[[HttpRequest], bool]) -> View:
    """Return the view of a page, which also answers its polls; unchanged if the page follows no tables."""
    if followed is None:
        return view

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method != "GET":
            return view(request, *args, **kwargs)
        if POLL_HEADER in request.headers:
            return poll(request, lambda: view(request, *args, **kwargs), followed, may_enter)
        request.live_address = request.get_full_path()  # type: ignore[attr-defined]  # read by ``context``
        return view(request, *args, **kwargs)

    return answer


def poll(
    request: HttpRequest,
    view: Callable[[], HttpResponse],
    followed: Followed,
    may_enter: Callable[[HttpRequest], bool],
) -> HttpResponse:
    """Answer a poll. Never redirect: the script would take another page for this one."""
    if not may_enter(request):
        return HttpResponse(status=HTTPStatus.UNAUTHORIZED)
    now = _now()
    known = Version.parse(request.headers.get("If-None-Match", ""))
    state = _state(request, followed)
    if known and state and known.is_current(state, now, followed.cached_for):
        return _unchanged(known)
    request.is_poll = True  # type: ignore[attr-defined]  # read by ``context``
    response = view()
    if response.status_code in {HTTPStatus.FOUND, HTTPStatus.MOVED_PERMANENTLY}:
        return HttpResponse(status=HTTPStatus.GONE)
    if isinstance(response, SimpleTemplateResponse):
        response.render()
    if response.status_code != HTTPStatus.OK:
        return response
    since = known.since if known and known.state == state else now
    version = Version(state or "0", since, now, _digest(_TOKEN.sub(b"", response.content)))
    if known and known.text == version.text:
        return _unchanged(version)
    response.headers["ETag"] = str(version)
    return response


def is_live(request: HttpRequest) -> bool:
    """Tell whether this request shows a page that updates itself, or polls for one."""
    return hasattr(request, "live_address") or hasattr(request, "is_poll")


def context(request: HttpRequest) -> dict[str, Any]:
    """Return what the templates of a page need to be live, or to be the answer to a poll."""
    if getattr(request, "is_poll", False):
        # Messages wait for a page that somebody opens.
        return {"base_of_page": "admin/live.html", "messages": (), "is_poll": True}
    address = getattr(request, "live_address", None)
    return {"live_address": address, "polled_every": POLLED_EVERY} if address else {}


def _unchanged(version: Version) -> HttpResponse:
    return HttpResponse(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": str(version)})


def _state(request: HttpRequest, followed: Followed) -> str | None:
    """Name what was counted for this person and what they may see; None where the database does not count."""
    counted = writes_to(followed.models)
    if counted is None:
        return None
    user = request.user
    may = "everything" if user.is_superuser else sorted(user.get_all_permissions())
    return _digest(repr((counted, user.pk if isinstance(user, User) else None, may)).encode())


def _now() -> int:
    return int(time.time())


def _digest(text: bytes) -> str:
    return hashlib.blake2b(text, digest_size=8).hexdigest()
