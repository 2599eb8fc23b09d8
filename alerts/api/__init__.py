"""The operator's API about alerts."""
