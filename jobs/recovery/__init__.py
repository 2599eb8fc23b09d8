"""Recovery: find runs whose worker died and start them again, and explain what will happen next."""
