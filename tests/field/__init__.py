"""The product as processes, spoken to by a real HTTP client: what breaks between its parts and the world."""
