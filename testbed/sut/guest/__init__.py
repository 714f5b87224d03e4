"""Files of the SUT's image; README.md tells which is which."""
