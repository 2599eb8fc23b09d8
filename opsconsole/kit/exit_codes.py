"""The exit codes of all commands, as docs/commands.md promises them to scripts. Imports nothing: it is read before Django is."""

# A finding of the command ("there are dead letters"), or its refusal.
FOUND_OR_REFUSED = 1
# As of argparse.
WRONG_ARGUMENTS = 2
# Neither a finding nor a refusal: a script must not take it for "late". Nagios and what followed it read 3 as "unknown", too.
COULD_NOT = 3
