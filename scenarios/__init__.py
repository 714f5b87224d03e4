"""Scenarios: what a multi-tenant server must do, shown end to end. They import `testbed.api` only."""
