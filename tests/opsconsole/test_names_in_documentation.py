"""Tests that what the documentation tells people to press or to open is there under exactly that name."""

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
from tests.repository import tracked

# Emphasis alone stands between single asterisks; two make the beginning of a paragraph bold.
NAMED = re.compile(r"(?<!\*)\*([A-Z][^*\n]{1,40})\*(?!\*)")
# Between two tags, or an argument of a tag.
TEXT = re.compile(r">\s*([^<>{}]+?)\s*(?=[<{])|\{%[^%]*?\"([^\"%]+)\"[^%]*%\}")
# Their emphasis is for columns of tables and for names in the consoles of others, such as AWS and identity providers.
NOT_ABOUT_THE_SCREEN = {"benchmarks.md", "scaling.md", "single-sign-on.md"}
NAMED_BY_OTHERS = {
    ("Basic Information", "settings.md"),  # Slack
    ("Interactivity", "settings.md"),  # Slack
    ("Sign in with …", "settings.md"),  # followed by the provider's name
}


def named_in_documentation() -> set[tuple[str, str]]:
    pages = tracked("README.md", ":(glob)docs/*.md", "docs/runbooks/*.md", "deploy/*.md", "clients/*.md")
    return {
        (name, path.name)
        for path in pages
        if path.name not in NOT_ABOUT_THE_SCREEN
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
        for text, argument in TEXT.findall(path.read_text(encoding="utf-8")):
            yield text or argument
    for app in ("alerts", "jobs", "opsconsole", "ratelimits"):
        for path in tracked(f"{app}/**/*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 60:
                    yield node.value.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.django_db
def test_documentation_names_the_very_buttons_and_pages() -> None:
    named = named_in_documentation()
    shown = {text.strip().lower() for text in on_screen()}

    assert {each for each in named if each[0].lower() not in shown} == NAMED_BY_OTHERS
    assert len({name for name, page in named if page == "README.md"}) >= 2
    assert len(named) > 150
