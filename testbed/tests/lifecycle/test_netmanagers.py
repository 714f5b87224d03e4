from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from testbed.lifecycle.netmanagers import greedy

NETWORKD, NM = frozenset({"systemd-network"}), frozenset({"NetworkManager"})
DHCP = "[Network]\nDHCP=yes\n"


def written(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / "etc/systemd/network" / f"{name.replace('_', '-').lstrip('n')}.network"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    "match",
    ["Name=*", "Name=en* tb*", "Name=!lo", "Type=ether", "# Name=eth0\nName = tb*"],
)
def test_a_file_for_any_link_takes_ours(tmp_path: Path, match: str) -> None:
    (found,) = greedy(written(tmp_path, n50_all=f"[Match]\n{match}\n{DHCP}"), NETWORKD)
    assert found.manager == "systemd-networkd"
    assert found.why.endswith("etc/systemd/network/50-all.network")


@pytest.mark.parametrize(
    "match", ["Name=en*", "Name=!tb*", "Name=!lo tb*", "MACAddress=52:54:00:00:00:01", "# nothing"]
)
def test_a_file_for_other_links_does_not(tmp_path: Path, match: str) -> None:
    assert greedy(written(tmp_path, n50_all=f"[Match]\n{match}\n{DHCP}"), NETWORKD) == ()


@pytest.mark.parametrize("greedy_name", ["n50_all", "n00_all"])
def test_the_command_it_tells_mends_it(tmp_path: Path, greedy_name: str) -> None:
    written(tmp_path, **{greedy_name: f"[Match]\nName=*\n{DHCP}"})
    (found,) = greedy(tmp_path, NETWORKD)
    (tmp_path / "etc/NetworkManager/conf.d").mkdir(parents=True)
    (other,) = greedy(tmp_path, NM)
    for mend in (found.mend, other.mend):
        command = mend.partition(" && ")[0].replace(">/", f">{tmp_path}/")
        subprocess.run(["sh", "-euc", command], check=True)
    assert greedy(tmp_path, NETWORKD | NM) == ()


def test_a_file_hidden_by_another_of_its_name_does_not_count(tmp_path: Path) -> None:
    shipped = tmp_path / "usr/lib/systemd/network/50-all.network"
    shipped.parent.mkdir(parents=True)
    shipped.write_text(f"[Match]\nName=*\n{DHCP}")
    assert len(greedy(tmp_path, NETWORKD)) == 1
    assert greedy(written(tmp_path, n50_all=""), NETWORKD) == ()


def test_network_manager_told_of_others_is_not_told_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "etc/NetworkManager/conf.d/x.conf"
    path.parent.mkdir(parents=True)
    for told in ("interface-name:en*", "except:interface-name:tb*", "mac:52:54:00:00:00:01"):
        path.write_text(f"[keyfile]\nunmanaged-devices={told}\n")
        assert len(greedy(tmp_path, NM)) == 1, told


def test_who_does_not_run_takes_nothing(tmp_path: Path) -> None:
    assert greedy(written(tmp_path, n50_all=f"[Match]\nName=*\n{DHCP}"), frozenset()) == ()
