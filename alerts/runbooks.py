"""Runbooks of rules, from docs/runbooks. The pages of alerts show them, so that nobody has to search a repository."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from django.conf import settings
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe

from alerts.catalog import RULES
from opsconsole.kit.display import inline_markup


@dataclass(frozen=True)
class Runbook:
    """A runbook: its ``path`` in the repository, and its text without the title as ``html``."""

    path: str
    html: SafeString


@lru_cache
def find(rule: str) -> Runbook | None:
    """Return the runbook of a rule, or None if the rule is not in the catalogue."""
    if rule not in RULES:
        return None
    path = f"docs/runbooks/{RULES[rule].runbook}.md"
    file: Path = settings.BASE_DIR / path
    return Runbook(path, _html(file.read_text(encoding="utf-8"))) if file.exists() else None


def _html(text: str) -> SafeString:
    """Convert the subset of Markdown that runbooks use: paragraphs, numbered steps, bold text and code."""
    blocks = [block for block in re.split(r"\n\s*\n", text.strip()) if not block.startswith("# ")]
    return mark_safe("".join(_block(block) for block in blocks))  # noqa: S308 - escaped in _inline


def _block(block: str) -> str:
    lines = block.splitlines()
    if re.match(r"\d+\. ", lines[0]):
        return f"<ol>{_steps(lines)}</ol>"
    return f"<p>{inline_markup(' '.join(lines))}</p>"


def _steps(lines: list[str]) -> SafeString:
    numbers: list[int] = []
    for line in lines:
        numbers.append((numbers[-1] if numbers else 0) + bool(re.match(r"\d+\. ", line)))
    steps = groupby(zip(numbers, lines, strict=True), key=lambda pair: pair[0])
    texts = [" ".join(re.sub(r"^\d+\. ", "", line).strip() for _, line in step) for _, step in steps]
    return format_html_join("", "<li>{}</li>", ((inline_markup(text),) for text in texts))
