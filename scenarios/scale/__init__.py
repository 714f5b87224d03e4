"""What thousands of tenants do to a server, all at once."""
