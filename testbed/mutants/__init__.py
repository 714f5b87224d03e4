"""Deliberate defects in the FIB extensions and the daemon, each to be caught by a scenario."""
