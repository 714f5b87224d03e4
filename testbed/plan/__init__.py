"""Pure functions from a topology and a deployment id to everything that will exist."""
