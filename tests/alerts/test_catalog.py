"""The catalogue of rules, the stored rules, and their runbooks."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.forms.models import model_to_dict

from alerts import runbooks
from alerts.catalog import RULES
from alerts.models import Rule
from jobs.bulk.registry import KINDS as BULK_KINDS

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "runbooks"


@pytest.mark.django_db
def test_stored_rules_equal_the_catalogue() -> None:
    # Tests that empty the tables also delete the rows that migrations created.
    Rule.objects.all().delete()
    import_module("alerts.migrations.0002_rules").store(apps, None)
    import_module("alerts.migrations.0005_fewer_messages").keep_firing(apps, None)
    import_module("alerts.migrations.0006_locked_runs_rule").store(apps, None)
    import_module("alerts.migrations.0007_refused_runs_rule").store(apps, None)
    import_module("alerts.migrations.0008_rule_of_restores").store(apps, None)
    import_module("alerts.migrations.0009_worker_rules").store(apps, None)
    import_module("alerts.migrations.0010_limiter_rule").store(apps, None)
    import_module("alerts.migrations.0011_audit_rule").store(apps, None)
    import_module("alerts.migrations.0012_refused_claims_rule").store(apps, None)
    import_module("alerts.migrations.0014_short_visibility_rule").store(apps, None)
    import_module("alerts.migrations.0016_old_transaction_rule").store(apps, None)
    import_module("alerts.migrations.0018_local_log_ins_rule").store(apps, None)
    import_module("alerts.migrations.0019_failing_tasks_rule").store(apps, None)
    import_module("alerts.migrations.0020_runs_by_hand_rule").store(apps, None)

    stored = {rule.pk: model_to_dict(rule) for rule in Rule.objects.all()}
    assert stored == {
        name: model_to_dict(_plain(definition.default_rule())) for name, definition in RULES.items()
    }


def _plain(rule: Rule) -> Rule:
    rule.changed_by = rule.reason = ""
    return rule


@pytest.mark.parametrize("name", RULES)
def test_every_rule_has_a_short_runbook(name: str) -> None:
    runbook = runbooks.find(name)
    assert runbook
    text = (FOLDER / f"{RULES[name].runbook}.md").read_text()
    assert "**What it says.**" in text and len(text) < 2_000
    assert "<ol><li>" in runbook.html and "<strong>What it says.</strong>" in runbook.html
    assert "`" not in runbook.html


def test_every_runbook_is_in_the_index() -> None:
    index = (FOLDER / "README.md").read_text()
    assert [
        page.name for page in FOLDER.glob("*.md") if page.name != "README.md" and page.name not in index
    ] == []


def test_runbooks_name_pages_and_buttons_as_on_screen() -> None:
    tracked = [
        "templates/**/*.html",
        *(f"{app}/**/*.py" for app in ("opsconsole", "jobs", "alerts", "ratelimits")),
    ]
    texts = [path.read_text() for pattern in tracked for path in settings.BASE_DIR.glob(pattern)]
    texts += [str(model._meta.verbose_name_plural) for model in admin.site._registry]
    source = " ".join(" ".join(texts).split()).lower()
    verbs = (kind.verb for kind in BULK_KINDS.values())
    source = " ".join([source, *(source.replace("{{ kind.verb }}", verb.lower()) for verb in verbs)])
    emphasis = re.compile(r"(?<![*\w])\*([^*\n]+?)\*(?!\*)")
    named = {
        (runbook.name, words)
        for runbook in FOLDER.glob("*.md")
        for words in emphasis.findall(runbook.read_text())
    }
    assert len(named) > 40
    assert [each for each in sorted(named) if each[1].lower() not in source] == []


def test_runbook_is_escaped() -> None:
    assert runbooks._html("# T\n\nA <script> & `x<y`") == "<p>A &lt;script&gt; &amp; <code>x&lt;y</code></p>"


def test_defaults_of_the_contract() -> None:
    assert {
        name: RULES[name].threshold for name in ("dlq_not_empty", "stale_jobs_day", "limited_requests_hour")
    } == {
        "dlq_not_empty": 0,
        "stale_jobs_day": 5,
        "limited_requests_hour": 100,
    }
