"""Testbed for multi-tenant servers whose tenants' networks overlap. Scenarios import `testbed.api`."""
