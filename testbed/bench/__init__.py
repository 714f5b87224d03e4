"""What the designs cost, measured side by side: `make bench`."""
