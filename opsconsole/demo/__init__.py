"""``make demo``: the whole console with its services, workers that die, and a story told as it happens."""
