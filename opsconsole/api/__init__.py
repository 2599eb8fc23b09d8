"""The HTTP API: its routers, its errors and its description."""
