"""The jobs list, the page of a job, and the operations offered there."""
