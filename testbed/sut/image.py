"""The SUT's image: Debian's packages and kernel in an ext4 file, made without loop mounts.

mmdebstrap unpacks the packages into a directory, our few files go on top, `mke2fs -d` makes the file
system. There is no service manager and no udev: one script mounts and names, busybox init starts
sshd and the guest agent.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

from testbed.drivers import apt, store
from testbed.drivers.cache import Family
from testbed.drivers.process import run
from testbed.events import Events
from testbed.sut import initramfs
from testbed.sut.qemu import Boot

# The name in known_hosts: the address differs in each deployment, the image's key does not.
KNOWN_AS = "sut"

# Two images are kept: going back and forth between two versions of the testbed costs nothing.
_KEPT = 2
_BUILD_LIMIT_S = 900.0
_DISK_MIB = 2048

PACKAGES = (
    "linux-image-cloud-amd64",
    "tiny-initramfs",  # only to satisfy the kernel: the others bring udev along
    "busybox-static",  # init, and all of the initramfs
    "kmod",
    "openssh-server",
    # the extensions and the daemon
    "python3",
    "python3-gssapi",
    "python3-ldap",
    "python3-pyroute2",
    "bpftool",
    "nftables",
    "iproute2",
    # what the extensions are proven with
    "libpam-krb5",  # an unmodified sshd asks the tenant's KDC in its own process
    "python3-hypothesis",  # random sequences of changes, kernel against oracle
    "python3-pycares",  # c-ares: a resolver that is not libc's
    "python3-pycurl",  # libcurl: resolves in a thread of its own
    "hey",  # written in Go, whose resolver asks by system calls of its own
    # to look inside with
    "bind9-dnsutils",
    "curl",
    "iputils-ping",
    "krb5-user",
    "ldap-utils",
    "procps",
    "psmisc",
    "strace",
    "tcpdump",
)
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")

# From guest/ to the guest, with permissions.
_OUR_FILES = {
    "agent.py": ("usr/local/lib/testbed/agent.py", 0o644),
    "boot": ("usr/local/lib/testbed/boot", 0o755),
    "inittab": ("etc/inittab", 0o644),
    "krb5.conf": ("etc/krb5.conf", 0o644),
    "nsswitch.conf": ("etc/nsswitch.conf", 0o644),
    "resolv.conf": ("etc/resolv.conf", 0o644),
    "sshd_config": ("etc/ssh/sshd_config", 0o644),
}
_OUR_TEXTS = {
    "etc/hostname": "sut\n",
    "etc/hosts": "127.0.0.1 localhost sut\n::1 localhost\n",
    "etc/fstab": "",
    # Commands over ssh run in the login shell, and under emulation dash starts twice as fast as
    # bash; people get bash.
    "root/.profile": "case $- in *i*) exec bash -l ;; esac\n",
    "root/.bash_profile": ". ~/.bashrc\n",
}
_ACCOUNTS = (
    ("usermod", "--shell", "/bin/sh", "root"),
    # Whom the multi-tenant daemon becomes; made here, since it costs every start half a second.
    ("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "tenantd"),
)
# Host keys that every copy of the image would share with nobody knowing, and what builds only.
_UNWANTED = ("etc/ssh/ssh_host_*", "var/lib/apt/lists/*", "var/cache/apt/*", "vmlinuz*", "initrd*")


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """What an image consists of. The directory is readable by root alone: it holds the keys."""

    directory: Path

    @property
    def key(self) -> str:
        """What tells this image from every other, one of the same recipe included."""
        return store.build_id(self.directory)

    @property
    def boot(self) -> Boot:
        """Kernel and initramfs."""
        return Boot(self.directory / "vmlinuz", self.directory / "initrd")

    @property
    def disk(self) -> Path:
        """The root file system, raw; never written to."""
        return self.directory / "root.ext4"

    @property
    def client_key(self) -> Path:
        """The private key that opens root's account."""
        return self.directory / "client_key"

    @property
    def known_hosts(self) -> Path:
        """The host's key under the name that `ssh_config` asks for, and no other."""
        return self.directory / "known_hosts"


def build_image(cache: Path, events: Events) -> ImageFiles:
    """Return the image in `cache`, building it first when it is not there (about a minute).

    Raises:
        PreflightError: when apt has no Debian sources.
        ResourceError: when a tool fails.
    """
    guest = _guest_files()
    family = cache / Family.IMAGE
    directory = family / store.key_of(_recipe(guest))
    build = partial(_build, guest, events)
    if not directory.is_dir():
        store.prune(family, keep=_KEPT - 1)
        with events.step("make the SUT's image, or wait for who makes it"):
            store.obtain(directory, build, limit_s=_BUILD_LIMIT_S)
    return ImageFiles(store.obtain(directory, build, limit_s=_BUILD_LIMIT_S))


def _guest_files() -> dict[str, str]:
    folder = files("testbed.sut") / "guest"
    return {name: (folder / name).read_text() for name in (*_OUR_FILES, "initramfs-init")}


def _recipe(guest: Mapping[str, str]) -> list[str]:
    """Return all that an image is made from. Its packages' versions are those of the day."""
    recipe = [apt.RELEASE, str(_DISK_MIB), *PACKAGES, *_LEFT_OUT, *_UNWANTED, KNOWN_AS]
    recipe.extend(" ".join(command) for command in _ACCOUNTS)
    for parts in (*guest.items(), *_OUR_TEXTS.items()):
        recipe.extend(parts)
    for name, (place, mode) in _OUR_FILES.items():
        recipe.extend((name, place, str(mode)))
    return [*recipe, *initramfs.DRIVERS]


def _build(guest: Mapping[str, str], events: Events, directory: Path) -> None:
    root = directory / "root"
    with events.step("unpack the SUT's packages"):
        _unpack(root)
    with events.step("make the SUT's file system"):
        _add_keys(directory, root)
        _add_files(guest, root)
        release = _take_kernel(directory, root)
        archive = initramfs.build(root, release, guest["initramfs-init"])
        (directory / "initrd").write_bytes(archive)
        _make_file_system(directory / "root.ext4", root)
        shutil.rmtree(root)


def _unpack(root: Path) -> None:
    # A root that was not unpacked to its end is thrown away: no package need be forced to disk.
    options = ["force-unsafe-io", *(f"path-exclude={pattern}" for pattern in _LEFT_OUT)]
    # fmt: off
    run(
        [
            "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}",
            *(f"--dpkgopt={option}" for option in options), *apt.fetch_options(),
            apt.RELEASE, str(root), "-",
        ],
        stdin=apt.debian_sources(),
        # Nobody needs the initramfs that the kernel's package would have made.
        env={"INITRD": "No", "TMPDIR": str(root.parent)},
        timeout_s=_BUILD_LIMIT_S,
        whole_tree=True,
    )
    # fmt: on
    for pattern in _UNWANTED:
        for path in root.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _add_keys(directory: Path, root: Path) -> None:
    client, host = directory / "client_key", root / "etc/ssh/ssh_host_ed25519_key"
    for key, comment in ((client, "testbed"), (host, KNOWN_AS)):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(key)])
    public = host.with_suffix(".pub").read_text()
    (directory / "known_hosts").write_text(f"{KNOWN_AS} {public}")
    authorized = root / "etc/ssh/authorized_keys"
    authorized.write_text(client.with_suffix(".pub").read_text())
    authorized.chmod(0o600)


def _add_files(guest: Mapping[str, str], root: Path) -> None:
    texts = {place: (text, 0o644) for place, text in _OUR_TEXTS.items()}
    for name, (place, mode) in _OUR_FILES.items():
        texts[place] = (guest[name], mode)
    for place, (text, mode) in texts.items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # it may be a link that leads out of the image
        path.write_text(text)
        path.chmod(mode)
    for command in _ACCOUNTS:
        run(["chroot", str(root), *command])
    init = root / "sbin/init"
    init.unlink(missing_ok=True)
    init.symlink_to("/usr/bin/busybox")


def _take_kernel(directory: Path, root: Path) -> str:
    """Put the kernel beside the disk and return its release."""
    kernel = next((root / "boot").glob("vmlinuz-*"))
    shutil.copy(kernel, directory / "vmlinuz")
    shutil.rmtree(root / "boot")
    return kernel.name.removeprefix("vmlinuz-")


def _make_file_system(disk: Path, root: Path) -> None:
    # fmt: off
    run(
        [
            "mke2fs", "-q", "-t", "ext4", "-d", str(root), "-L", "sut",
            # The guest's disk is thrown away after each deployment: a journal guards nothing.
            "-O", "^has_journal", "-m", "0", "-E", "lazy_itable_init=1,nodiscard",
            str(disk), f"{_DISK_MIB}M",
        ],
        timeout_s=_BUILD_LIMIT_S,
    )
    # fmt: on
