"""The `testbed` command: definitions of its verbs and rendering of events."""
