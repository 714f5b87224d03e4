"""Policy: what is made, checked, leased and removed, and in which order."""
