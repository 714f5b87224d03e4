"""Nothing of one tenant reaches another: the wire, and what breaks when the FIBs are broken."""
