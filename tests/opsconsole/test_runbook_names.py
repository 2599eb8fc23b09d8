"""A test that what runbooks tell people to press or to open is there under exactly that name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import RequestFactory

from jobs.admin.dead_letters.failure_groups import OFFERED
from jobs.bulk.registry import KINDS, kind_of
from opsconsole.kit import admin_pages
from tests.repository import REPOSITORY, tracked

# Emphasis alone stands between single asterisks; two make the beginning of a paragraph bold.
NAMED = re.compile(r"(?<!\*)\*([A-Z][^*\n]{1,40})\*(?!\*)")
TEXT = re.compile(r">\s*([^<>{}]+?)\s*[<{]")


def named_in_runbooks() -> set[tuple[str, str]]:
    return {
        (name, path.name)
        for path in tracked("docs/runbooks/*.md")
        for name in NAMED.findall(path.read_text(encoding="utf-8"))
    }


def on_screen() -> Iterator[str]:
    """Yield the names of pages, the buttons and headings of templates, and the words that code shows."""
    request = RequestFactory().get("/admin/")
    request.user = User.objects.create_superuser("root")
    for entry in admin_pages.site().get_app_list(request):
        yield entry["name"]
        yield from (str(model["name"]) for model in entry["models"])
    yield from (kind.verb for kind in KINDS.values())
    yield from (f"{kind_of(action).verb} all undecided" for action in OFFERED)
    for path in tracked("templates/**/*.html"):
        yield from TEXT.findall(path.read_text(encoding="utf-8"))
    for app in ("alerts", "jobs", "opsconsole", "ratelimits"):
        for path in tracked(f"{app}/**/*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 60:
                    yield node.value


@pytest.mark.django_db
def test_runbooks_name_the_very_buttons_and_pages() -> None:
    shown = {text.strip().lower() for text in on_screen()}

    assert {each for each in named_in_runbooks() if each[0].lower() not in shown} == set()
    assert len(named_in_runbooks()) > 40
    assert (REPOSITORY / "docs" / "runbooks").is_dir()
