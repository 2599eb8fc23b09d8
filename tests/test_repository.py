"""Tests of which files of the repository a test reads: a pattern that misses some proves less than it says."""

from __future__ import annotations

from tests.repository import REPOSITORY, tracked


def test_two_asterisks_find_files_at_the_top_and_in_folders() -> None:
    found = {str(path.relative_to(REPOSITORY)) for path in tracked("alerts/**/*.py")}
    assert {"alerts/catalog.py", "alerts/models/alert.py", "alerts/aws/sns.py"} <= found
    assert found == {str(path.relative_to(REPOSITORY)) for path in tracked("alerts/*.py")}


def test_one_asterisk_beside_them_does_not_cross_folders() -> None:
    assert tracked("docs/**/commands.md", "docs/**/README.md") == [
        REPOSITORY / "docs/commands.md",
        REPOSITORY / "docs/runbooks/README.md",
    ]
