"""Migration operations that are safe on other people's live tables, under the name by which migrations import them.

Contract tables belong to others. Locks on them are short and abandoned rather than waited for, indexes are built
concurrently, and nothing of theirs is dropped or altered, forwards or backwards. What they add is recorded
(``opsconsole.kit.attachment``), so that ``uninstall`` can take it away again.
"""

from opsconsole.kit.contract_tables import EnsureTable
from opsconsole.kit.online_indexes import AddIndexOnline
from opsconsole.kit.replaced_functions import ReplaceFunction

__all__ = ["AddIndexOnline", "EnsureTable", "ReplaceFunction"]
