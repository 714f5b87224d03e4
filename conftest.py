"""Loads the testbed's pytest plugin, and nothing more."""

pytest_plugins = ["testbed.pytest_plugin"]
