"""Conformance suite: runs inside the SUT as root, standard library only.

`python3 -m fib.conformance` makes three tenants in network namespaces behind an interface of its
own, runs one test for each row and pitfall, and brings the last document back. Nothing else may
use the FIBs meanwhile.
"""
