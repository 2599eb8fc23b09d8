"""The dead letters list, the page of a letter, failure groups and the actions offered there."""
