"""Who a request counts as: its API key, its user or its address."""
