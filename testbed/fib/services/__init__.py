"""Daemons that run in the SUT and serve every tenant from one process."""
