from __future__ import annotations

from testbed.lifecycle.inventory import Inventory, Item


def inventory(*items: Item) -> Inventory:
    return Inventory(frozenset((item, 1) for item in items))


def test_changes_say_what_and_whose() -> None:
    lo, tap = Item("link", "lo", "up"), Item("link", "tbk3x7qatap", "tun up")
    before = inventory(lo, Item("sysctl", "net/ipv4/ip_forward", "0"), Item("netns", "theirs"))
    after = inventory(lo, Item("sysctl", "net/ipv4/ip_forward", "1"), tap)
    assert after.changes_since(before) == (
        "left: link tbk3x7qatap tun up (deployment k3x7qa)",
        "gone: netns theirs  (nobody's that we know)",
        "changed: sysctl net/ipv4/ip_forward: '0' x1 is now '1' x1 (nobody's that we know)",
    )


def test_settings_of_a_link_go_with_it() -> None:
    link = Item("link", "tbk3x7qatap", "tun up")
    setting = Item("sysctl", "net/ipv4/conf/tbk3x7qatap/rp_filter", "0")
    assert len(inventory(link, setting).changes_since(inventory())) == 1
    assert len(inventory(setting).changes_since(inventory())) == 1


def test_text_comes_back() -> None:
    some = inventory(Item("process", "sleep 1", "TESTBED_OWNED=k3x7qa/qemu"), Item("netns", "a"))
    assert Inventory.read(some.write()) == some
    assert some.of("process")[0].owner == "deployment k3x7qa"
