"""Stand-ins for what is outside, with the faults that the real thing has on bad days."""
