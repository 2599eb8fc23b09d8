"""Assertions of the crash scenarios show their values, as those of test modules do."""

import pytest

pytest.register_assert_rewrite("tests.chaos.crash_scenarios")
