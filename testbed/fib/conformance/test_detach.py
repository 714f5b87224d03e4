"""Row 55: `fibctl detach` leaves the system as it was before the first FIB."""

from __future__ import annotations

import json
from pathlib import Path

from .. import apply, bpfmap, store, sysctls
from . import lab
from .case import Case

_RAISED = "net/ipv4/neigh/default/gc_thresh3"


class Detach(Case):
    def setUp(self) -> None:
        apply.remove_everything(lab.NIC)

    def tearDown(self) -> None:
        lab.put(lab.document())
        super().tearDown()

    def test_row_55_detach_leaves_nothing(self) -> None:
        before = state()
        lab.put(lab.document())
        configured = state()
        self.assertEqual([part for part in before if before[part] == configured[part]], [])
        apply.remove_everything(lab.NIC)
        self.assertEqual(state(), before)

    def test_row_55_detach_again_changes_nothing(self) -> None:
        lab.run("ip", "addr", "add", "10.99.0.1/32", "dev", lab.NIC)
        before = state()
        apply.remove_everything(lab.NIC)
        self.assertEqual(state(), before)

    def test_row_55_detach_spares_filters_of_others(self) -> None:
        lab.put(lab.document())
        others = ("dev", lab.NIC, "ingress", "prio", "9")
        lab.run("tc", "filter", "add", *others, "matchall", "action", "ok")
        apply.remove_everything(lab.NIC)
        self.assertIn("matchall", lab.run("tc", "filter", "show", *others))
        lab.put(lab.document())
        apply.remove_everything(lab.NIC)
        self.assertIn("matchall", lab.run("tc", "filter", "show", *others))
        lab.run("tc", "qdisc", "del", "dev", lab.NIC, "clsact")

    def test_row_55_detach_spares_what_others_have_set(self) -> None:
        """The first value counts, however often FIBs are applied; one that is not ours stays."""
        path = Path("/proc/sys", _RAISED)
        with lab.setting(_RAISED, "2000"):
            for document in (lab.document(fibs=[], unassigned=[], default_fib=0), lab.document()):
                lab.put(document)
            path.write_text("4000")
            lab.put(lab.document())
            apply.remove_everything(lab.NIC)
            self.assertEqual(path.read_text(), "2000\n")
            lab.put(lab.document())
            path.write_text("70000")
            apply.remove_everything(lab.NIC)
            self.assertEqual(path.read_text(), "70000\n")


def state() -> dict[str, object]:
    """Return all that FIBs change on a system, by part."""
    programs = json.loads(lab.run("bpftool", "--json", "prog", "show"))
    return {
        "settings": {
            str(path): path.read_text("ascii") for path in sysctls.wanted_sysctls(lab.NIC)
        },
        "rules": [lab.run("ip", family, "rule") for family in ("-4", "-6")],
        "routes": [
            sorted(lab.run("ip", family, "route", "show", "table", "all").splitlines())
            for family in ("-4", "-6")
        ],
        "addresses": lab.run("ip", "-o", "address"),
        "neighbours": lab.run("ip", "neighbour", "show", "nud", "permanent"),
        "programs": sorted(p["name"] for p in programs if p.get("name", "").startswith("fib_")),
        "queues": lab.run("tc", "qdisc", "show", "dev", lab.NIC),
        "pins": bpfmap.ROOT.exists(),
        "files": sorted(path.name for path in store.RUN.iterdir()),
    }
