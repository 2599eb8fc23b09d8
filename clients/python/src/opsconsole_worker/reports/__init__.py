"""How a worker reports: to the database itself, or to the console's HTTP API."""
