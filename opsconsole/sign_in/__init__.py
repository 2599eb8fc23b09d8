"""How people get in: log-in, second factor, sign-in by proxy, lock-outs, sessions and roles."""
