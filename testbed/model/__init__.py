"""Intent: topologies as people write them, and the errors they make."""
