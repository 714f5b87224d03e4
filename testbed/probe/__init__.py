"""Probes ask one question each and return a typed result; they never assert."""
