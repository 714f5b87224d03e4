from __future__ import annotations

from testbed.drivers.apt import parse_options, parse_sources


def test_debians_suites_of_the_release_are_taken_each_once_and_others_left() -> None:
    listed = [
        "Debian|bookworm|http://a/debian/|bookworm|main",
        "Debian|bookworm|http://a/debian/|bookworm|main",
        "Debian|bookworm-security|http://a/security/|bookworm-security|main",
        "Debian|trixie|http://a/debian/|trixie|main",
        "Vendor|bookworm|http://b/|stable|main",
    ]
    assert parse_sources(listed).splitlines() == [
        "deb http://a/debian/ bookworm main",
        "deb http://a/security/ bookworm-security main",
    ]


def test_no_source_gives_nothing() -> None:
    assert not parse_sources([])


def test_options_that_decide_how_to_fetch_are_handed_on() -> None:
    dumped = [
        'Acquire::Check-Valid-Until "false";',
        'Acquire::http::Proxy "http://proxy:3128";',
        'Acquire::Languages:: "none";',
        'Acquire::http "";',
        'APT::Architecture "amd64";',
    ]
    assert parse_options(dumped) == [
        'Acquire::Check-Valid-Until "false"',
        'Acquire::http::Proxy "http://proxy:3128"',
        'Acquire::http ""',
    ]
