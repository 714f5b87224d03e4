"""Loads scapy where it finds no interfaces: it reads all of a host's links and routes when imported.

With the links of 10,000 tenants that took more than four minutes. In an empty network namespace it is
a second; what it knows of interfaces it looks up again where it is asked to send.
"""

from __future__ import annotations

import importlib

from testbed.drivers import namespace
from testbed.errors import ResourceError

_LAYERS = ("scapy.layers.l2", "scapy.layers.inet", "scapy.layers.inet6")


def load_scapy() -> None:
    """Import the layers that frames and scenarios use. Loaded already is fine."""
    try:
        namespace.run_in_passing(_import)
    except ResourceError:  # without root there is no namespace of our own, nor many links
        _import()


def _import() -> None:
    for layer in _LAYERS:
        importlib.import_module(layer)
