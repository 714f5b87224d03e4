"""Effects: one technology a module, executing a plan and deciding nothing."""
