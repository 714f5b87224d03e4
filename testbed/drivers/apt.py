"""Where this host gets Debian's packages from, told by apt itself: no mirror is written down here.

`apt-get indextargets` knows every configured source in whatever format it is written, and which of
them are Debian's. Third parties' sources stay out of what we build.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from testbed.drivers.process import run
from testbed.errors import PreflightError

RELEASE = "bookworm"

# What decides whether and how a mirror is reached; a host behind a proxy needs them in the image
# build too. mmdebstrap reads no configuration of the host.
_FETCH_OPTIONS = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries")


def debian_sources() -> str:
    """Return the host's Debian sources of our release, as lines for a sources.list.

    Raises:
        PreflightError: when the host has none.
    """
    listed = run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)",
            "Created-By: Packages",
        ]
    ).stdout
    sources = parse_sources(listed.splitlines())
    if not sources:
        raise PreflightError(
            f"apt knows no source of Debian {RELEASE} packages",
            hint=f"add Debian {RELEASE} to apt's sources and run `apt-get update`",
        )
    return sources


def parse_sources(lines: Iterable[str]) -> str:
    r"""Return sources.list lines for those `lines` that are Debian's and of our release.

    >>> parse_sources(["Debian|bookworm|http://a/|bookworm|main", "Other|x|http://b/|x|main"])
    'deb http://a/ bookworm main\n'
    """
    wanted: dict[str, None] = {}  # ordered, each once
    for line in lines:
        origin, codename, uri, release, component = line.split("|")
        if origin == "Debian" and codename.partition("-")[0] == RELEASE:
            wanted[f"deb {uri} {release} {component}\n"] = None
    return "".join(wanted)


def fetch_options() -> list[str]:
    """Return the host's options for fetching packages, as `--aptopt` arguments of mmdebstrap."""
    dumped = run(["apt-config", "dump", "--no-empty"]).stdout
    return [f"--aptopt={option}" for option in parse_options(dumped.splitlines())]


def parse_options(lines: Iterable[str]) -> list[str]:
    """Return those of `lines` (of `apt-config dump`) that decide how packages are fetched.

    >>> parse_options(['Acquire::http::Proxy "http://p:3128";', 'APT::Architecture "amd64";'])
    ['Acquire::http::Proxy "http://p:3128"']
    """
    return [
        line.removesuffix(";")
        for line in lines
        if line.startswith(_FETCH_OPTIONS) and len(shlex.split(line)) == 2
    ]
