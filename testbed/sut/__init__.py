"""The system under test: our VM, or a user's own machine."""
