"""Tests of which files of the repository a test reads: a pattern that misses some proves less than it says."""

from __future__ import annotations

import re

from tests.repository import REPOSITORY, tracked


def test_two_asterisks_find_files_at_the_top_and_in_folders() -> None:
    found = {str(path.relative_to(REPOSITORY)) for path in tracked("alerts/**/*.py")}
    assert {"alerts/catalog.py", "alerts/models/alert.py", "alerts/aws/sns.py"} <= found
    assert found == {str(path.relative_to(REPOSITORY)) for path in tracked("alerts/*.py")}


def test_one_asterisk_beside_them_does_not_cross_folders() -> None:
    assert tracked("docs/**/commands.md", "docs/**/README.md") == [
        REPOSITORY / "docs/commands.md",
        REPOSITORY / "docs/decisions/README.md",
        REPOSITORY / "docs/runbooks/README.md",
    ]


def test_index_of_decisions_has_each_once_under_its_title() -> None:
    """Two branches may take the same number: who merges last is told here."""
    folder = REPOSITORY / "docs" / "decisions"
    pages = sorted(set(folder.glob("*.md")) - {folder / "README.md"})
    numbers = [page.name[:4] for page in pages]
    assert len(set(numbers)) == len(numbers)
    lines = []
    for page in pages:
        number, title = re.fullmatch(r"# (\d{4}): (.+)", page.read_text().partition("\n")[0]).groups()  # type: ignore[union-attr]  # fails where there is none
        assert page.name.startswith(f"{number}-")
        lines.append(f"- [{number}]({page.name}): {title}")
    index = (folder / "README.md").read_text().splitlines()
    assert [line for line in index if line.startswith("- ")] == lines
