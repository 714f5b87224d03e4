"""`testbed` itself: killed at any moment, beside others, with parts of it lost."""
