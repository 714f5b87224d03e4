"""Tests of the testbed itself: no root, no Docker, no VM."""
