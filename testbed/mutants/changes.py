"""Defects in how fibctl gets on with others: what they change meanwhile, what is theirs."""

from __future__ import annotations

from testbed.mutants.mutant import Mutant, Patch

_OTHERS = "conformance/test_rows.py::test_rows_hold[test_others]"
_DETACH = "conformance/test_rows.py::test_rows_hold[test_detach]"

CHANGES = (
    Mutant(
        "others-unheard",
        "what somebody else changes while `fibctl apply` is at work goes unnoticed",
        (_OTHERS,),
        (
            Patch(
                "others.py",
                "        if not news:\n            return False\n",
                "        if news or not news:\n            return False\n",
            ),
        ),
    ),
    Mutant(
        "neighbours-unheard",
        "`fibctl apply` does not hear of a neighbour that gets another MAC meanwhile",
        (_OTHERS,),
        (
            Patch(
                "others.py",
                "_GROUPS = (1, 5, 7, 8, 9, 11, 19, 3)",
                "_GROUPS = (1, 5, 7, 8, 9, 11, 19)",
            ),
        ),
    ),
    Mutant(
        "own-changes-heard",
        "`fibctl apply` takes its own changes for those of others, and reads everything again",
        (_OTHERS,),
        (
            Patch(
                "others.py",
                '        (if_equal, 6, 0, as_loaded("=I", port)),\n',
                '        (if_equal, 0, 0, as_loaded("=I", port)),\n',
            ),
        ),
    ),
    Mutant(
        "qdisc-left",
        "`fibctl detach` leaves the qdisc that it has made",
        (_DETACH,),
        (
            Patch(
                "programs.py",
                '        _tc("qdisc", "del", "dev", interface, _CLSACT)\n',
                "        pass\n",
            ),
        ),
    ),
    Mutant(
        "qdisc-of-others-removed",
        "`fibctl detach` removes the qdisc in which others have filters",
        (_DETACH,),
        (
            Patch(
                "programs.py",
                "if made.exists() and not any(_filters(interface, side) for side in _SIDES):",
                "if made.exists():",
            ),
        ),
    ),
)
