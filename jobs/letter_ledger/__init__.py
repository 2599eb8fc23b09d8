"""The ledger of dead letters: what was done to each, by whom and why."""
