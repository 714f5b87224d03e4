"""The specification of the FIB extensions, row by row, inside the SUT."""
