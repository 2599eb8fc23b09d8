"""Alerts: one open alert per problem, and the people who hear of it."""
