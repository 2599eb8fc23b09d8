"""Slack as a place to decide: buttons of an app, whose clicks count as decisions of an account of the console."""
