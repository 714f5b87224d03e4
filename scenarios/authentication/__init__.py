"""Each tenant authenticates its users at its own servers, and at no other."""
