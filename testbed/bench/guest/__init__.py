"""What the bench runs inside the SUT."""
