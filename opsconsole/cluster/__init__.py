"""The supervised django-q2 cluster: its processes, its broker and its schedules."""
