"""What fibctl takes, and its manual: every command says what it does, what it prints, an example."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

PIECES: Final = {
    "thread-fib": "new sockets no longer take the FIB of their thread",
    "thread-leak": "a thread's FIB is that of its whole process",
    "worker-leak": "accept() with SO_FIB_ACCEPT sets the FIB of a worker of io_uring, too",
    "accept-fib": "accepted sockets no longer take the FIB of their local address",
    "reply-route": "RST, echo replies and ICMP errors are routed in FIB 0",
    "egress-guard": "frames leave whatever their mark, source and router",
    "local-first": "the local table stands before the tenants' rules, as in a stock system",
    "address": "the data path takes --address for one of --fib, and routing does not",
}
"""What `fibctl break` can break, and what is wrong then."""

_REASONS: Final = """\
reasons:
  hairpin       in: the source is an address of this system's own
  sender        in: strict MAC, and not sent by a router of the destination's FIB (spoofed)
  foreign-icmp  in: an ICMP error that quotes another FIB's packet
  malformed     in or out: too short or too nested to be judged
  guard-source  out: the socket's FIB and that of the source address differ
  guard-router  out: addressed to a station that is no router of the FIB
  guard-no-fib  out: of a FIB that is not configured
  interface     in: for an address of a FIB, by an interface that is not the FIBs'
  only          in: of a FIB, for a socket that hears FIB 0 alone (SO_FIB_ONLY)
"""

_EXIT_CODES: Final = """\
exit codes: 0 done; 1 the kernel refused something, or its state is wrong afterwards;
2 bad input, nothing was changed, all problems are on stderr; 3 the system lacks something
(privilege, interface, programs); 130 interrupted
"""

_FORM: Final = """\
  {"id": 7, "name": "golf", "addresses": ["10.64.0.49/29"],
   "routes": [{"to": "10.64.0.48/29"}, {"to": "192.168.0.0/24", "via": "10.64.0.54"}],
   "neighbours": [{"address": "10.64.0.54", "mac": "02:fb:00:00:00:07"}]}
"""


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line; `name` of the result is the command's."""
    parser = argparse.ArgumentParser(
        prog="fibctl",
        description="Configure the FIBs of this system: which tenant each local address belongs "
        "to, and the routes each tenant has. Every command has --help.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_changes(commands)
    _add_views(commands)
    _add_questions(commands)
    _add_watchers(commands)
    _add_exec(commands)
    _add_policy(commands)
    _add_break(commands)
    return parser.parse_args(arguments)


def _command(commands: Any, name: str, summary: str, text: str, more: str = "") -> Any:
    """Add a command whose manual is `text`, then `more` as it stands, then the exit codes."""
    made = commands.add_parser(
        name,
        help=summary,
        description=text,
        epilog=f"{more}\n{_EXIT_CODES}" if more else _EXIT_CODES,
        formatter_class=_Formatter,
    )
    made.set_defaults(name=name)
    return made


class _Formatter(argparse.HelpFormatter):
    """Fills the description, leaves what comes after it as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return "".join(indent + line for line in text.splitlines(keepends=True))
        return super()._fill_text(text, width, indent)


def _add_format(command: Any) -> None:
    command.add_argument(
        "--format", choices=("text", "json"), default="text", help="for people, or for programs"
    )


def _add_changes(commands: Any) -> None:
    applied = _command(
        commands,
        "apply",
        "bring the system to a JSON document",
        "Read one JSON document, the whole desired state, and change what differs: programs are "
        "attached, or exchanged for those of another build without a gap; addresses, routes, rules, "
        "neighbours and maps of the interface that the document does not name are removed. A wrong "
        "document changes nothing. Prints what was changed as one JSON object, {} when nothing was.",
        "example:\n  fibctl apply /etc/fibs.json\n",
    )
    applied.add_argument("file", nargs="?", default="-", help="the document; '-' is standard input")
    added = _command(
        commands,
        "add",
        "add one FIB or some, leaving the others alone",
        "Read one FIB, or a list of FIBs, as they stand in a document's 'fibs', and add them; one with "
        "the number and name of a FIB there is changes it. Nothing of any other FIB is touched or read "
        "from the kernel. All or nothing: what the kernel refuses is taken back. Prints what was changed.",
        f"example: fibctl add golf.json, with\n{_FORM}",
    )
    added.add_argument("file", nargs="?", default="-", help="the FIBs; '-' is standard input")
    deleted = _command(
        commands,
        "delete",
        "delete FIBs, leaving the others alone",
        "Delete FIBs by number: their sockets are aborted first, while their peers can still be told. "
        "A number that is not there is no error; one that was deleted rests for 60 s before another "
        "name may have it. Prints what was changed.",
        "example:\n  fibctl delete 7 8\n",
    )
    deleted.add_argument("fib", nargs="+", type=int, metavar="FIB")
    detached = _command(
        commands,
        "detach",
        "take everything off again: FIBs, then programs",
        "Abort the sockets of all FIBs, remove what was configured, then programs and maps. The system "
        "is as it was before the first apply, but for kernel settings.",
    )
    detached.add_argument("interface", metavar="INTERFACE")


def _add_views(commands: Any) -> None:
    _add_format(
        _command(
            commands,
            "show",
            "show FIBs, addresses, routes and drop counters",
            "Show what is configured, read back from the kernel and the maps; names are the last "
            "document's. Also what is wrong: broken pieces, programs that are missing, addresses of the "
            "interface that nobody has configured. The JSON form is in docs/fib.md.",
        )
    )
    _add_format(
        _command(
            commands,
            "counters",
            "show how many frames were dropped, and why",
            "Show how many packets the programs have dropped since they were attached, by reason and "
            "summed over processors.",
            _REASONS,
        )
    )


def _add_questions(commands: Any) -> None:
    explained = _command(
        commands,
        "explain",
        "say which FIB an address is in, and which way a packet would go",
        "Answer from the document in force: the FIB of LOCAL and why; with REMOTE also the verdict "
        "(delivered, local, unreachable), route, next hop and source address. With --fib K the one "
        "address is the remote one, for an unbound socket of that FIB.",
        "examples:\n  fibctl explain 10.64.0.1\n  fibctl explain 10.64.0.1 192.168.0.1\n"
        "  fibctl explain --fib 2 192.168.0.1\n",
    )
    explained.add_argument("local", metavar="LOCAL")
    explained.add_argument("remote", metavar="REMOTE", nargs="?")
    explained.add_argument("--fib", type=int, help="LOCAL is the remote address of this FIB")
    _add_format(explained)
    sockets = _command(
        commands,
        "sockets",
        "list TCP and UDP sockets with their FIB",
        "List the sockets of this network namespace with their FIB: their own, else that of their local "
        "address, else 0.",
    )
    sockets.add_argument("--fib", type=int, help="only this FIB")
    _add_format(sockets)


def _add_watchers(commands: Any) -> None:
    _command(
        commands,
        "trace",
        "tell every new thread, socket and connection with its FIB",
        "Print one JSON object a line for each thread that is started and each socket that is made or "
        "connected, by whom and in which FIB, until standard input ends.",
    )
    _add_format(
        _command(
            commands,
            "watch",
            "refuse addresses of FIBs that somebody adds by hand",
            "Watch the addresses of all interfaces until interrupted, or everything is taken off. One that "
            "belongs to a FIB, or to the interface of the FIBs, and was added by hand, is removed again; one "
            "that was removed by hand is told. Each alarm is a line that names the owner. Until then the "
            "address is in its owner's FIB, and what comes for it by another interface is not heard.",
        )
    )


def _add_exec(commands: Any) -> None:
    executed = _command(
        commands,
        "exec",
        "run a command in a FIB",
        "Run a command whose sockets, and those of all it starts, are in FIB: setfib(1). Needs no "
        "privilege; a jail may forbid it. The exit code is the command's.",
        "example:\n  fibctl exec 2 -- dig @192.168.0.53 ldap.example\n",
    )
    executed.add_argument("fib", type=int, metavar="FIB", help="0 to 65535")
    executed.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")


def _add_policy(commands: Any) -> None:
    policy = _command(
        commands,
        "policy",
        "set what holds for a cgroup: a jail, accept sets the thread's FIB",
        "Replace the policy of CGROUP (a path below /sys/fs/cgroup), which holds for all below it as "
        "well. Without an option the policy is taken away.",
        "in a jail, with EPERM: setting a thread or socket to another FIB, SO_MARK of another (of one packet,\n"
        "too), making a socket in a thread of another, bind, connect, listen and sending by a socket of\n"
        "another that was made before or elsewhere; packet sockets, and families that hide their connections\n"
        "(SMC, RDS, TIPC)\n\nexample:\n  fibctl policy web.slice/tenant7 --jail 7\n",
    )
    policy.add_argument("cgroup", type=Path, metavar="CGROUP")
    policy.add_argument(
        "--jail",
        metavar="FIB,...",
        help="only these FIBs may be used. 0 means wildcard sockets, which may speak for every FIB",
    )
    policy.add_argument(
        "--accept-sets-thread",
        action="store_true",
        help="accept() also sets the accepting thread's FIB (unmodified forking daemons)",
    )


def _add_break(commands: Any) -> None:
    pieces = "\n".join(f"  {name:14}{what}" for name, what in PIECES.items())
    broken = _command(
        commands,
        "break",
        "negative controls: make one piece wrong",
        "Make one piece of the extensions wrong, so that a test can show that it would notice. Several "
        "may be broken at once; --undo, or any apply, mends all of them and checks the result.",
        f"pieces:\n{pieces}\n",
    )
    broken.add_argument("piece", nargs="?", choices=PIECES, metavar="PIECE")
    broken.add_argument("--address", help="for 'address': a local one")
    broken.add_argument("--fib", type=int, help="for 'address': whose it shall seem to be")
    broken.add_argument("--undo", action="store_true")
