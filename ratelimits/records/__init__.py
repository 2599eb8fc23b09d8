"""Records of rate-limited requests: counted in memory, written in the background, rolled up per hour."""
