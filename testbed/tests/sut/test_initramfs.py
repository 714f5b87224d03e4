from __future__ import annotations

import stat

import pytest

from testbed.sut.initramfs import archive, load_order

DEPENDENCIES = [
    "kernel/virtio.ko:",
    "kernel/virtio_ring.ko: kernel/virtio.ko",
    "kernel/virtio-pci.ko: kernel/virtio_ring.ko kernel/virtio.ko",
    "kernel/virtio_blk.ko: kernel/virtio_ring.ko kernel/virtio.ko",
    "kernel/unrelated.ko:",
]


def test_each_driver_follows_what_it_needs_and_comes_once() -> None:
    assert load_order(["virtio_pci", "virtio_blk"], DEPENDENCIES) == [
        "kernel/virtio.ko",
        "kernel/virtio_ring.ko",
        "kernel/virtio-pci.ko",
        "kernel/virtio_blk.ko",
    ]


def test_missing_driver_is_an_error() -> None:
    with pytest.raises(KeyError, match="virtio_net"):
        load_order(["virtio_net"], DEPENDENCIES)


def unpack(data: bytes) -> dict[str, tuple[int, bytes]]:
    """Read a newc archive by the kernel's description of it."""
    found: dict[str, tuple[int, bytes]] = {}
    offset = 0
    while True:
        assert offset % 4 == 0
        assert data[offset : offset + 6] == b"070701"
        fields = [int(data[offset + 6 + 8 * n : offset + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name_end = offset + 110 + name_size
        name = data[offset + 110 : name_end - 1].decode()
        assert data[name_end - 1] == 0
        start = name_end + -name_end % 4
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, data[start : start + size])
        offset = start + size + -(start + size) % 4


def test_archive_holds_files_directories_and_the_console() -> None:
    found = unpack(archive({"init": (0o755, b"#!/busybox sh\n"), "odd": (0o644, b"12345")}))
    assert found["init"] == (stat.S_IFREG | 0o755, b"#!/busybox sh\n")
    assert found["odd"] == (stat.S_IFREG | 0o644, b"12345")
    assert stat.S_ISDIR(found["dev"][0])
    assert stat.S_ISCHR(found["dev/console"][0])
