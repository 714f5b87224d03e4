"""Container images of the tenants' roles, built from Debian packages: no registry is asked.

A root file system by mmdebstrap, then `tenants/base` on it, then each role's own packages. Tags hold
the hash of what an image is made from and appear when it is complete, so a half-built image is never
used and one that is there is never built again.
"""

from __future__ import annotations

import io
import os
import platform
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path

import docker
from docker.errors import APIError, DockerException, ImageNotFound

from testbed.drivers import apt, process, store
from testbed.drivers.cache import IMAGES, Family
from testbed.drivers.dockerd import explained
from testbed.errors import PreflightError, ResourceError
from testbed.events import Events
from testbed.plan.files import TENANTS
from testbed.plan.resources import Role

BASE_IMAGE = "TESTBED_BASE_IMAGE"
"""Environment variable: an image with apt to build on, instead of our own from packages."""

LABEL = "testbed.image"
"""Label of every image of ours; its value is the role."""

_PACKAGES = ("iproute2", "procps")
_DPKG_OPTIONS = (
    # Images are complete or thrown away: no package need be forced to disk, in later builds either.
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
)
_HOST_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_HOOKS = (
    # The host's name servers and name are nobody's business; Docker mounts its own.
    'rm -f "$1/etc/resolv.conf" "$1/etc/hostname"',
    # A host that trusts more authorities than Debian does may fetch its packages through them.
    f'! [ -e {_HOST_CERTIFICATES} ] || install -Dm644 {_HOST_CERTIFICATES} "$1{_HOST_CERTIFICATES}"',
)
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")
_NOT_IN_IMAGES = ("*.j2", "README.md", "*.pyc")
_TAG_DIGITS = 12
_LIMIT_S = 900.0
_TAIL = 15
_BUILDERS = 2  # apt's work is half waiting, half one core's; more gain nothing on small machines
_KEPT = 2


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What an image is made from: its directory under `tenants/` and the image it stands on."""

    name: str
    parent: str
    parent_argument: str
    files: tuple[tuple[str, int, bytes], ...]

    @property
    def tag(self) -> str:
        parts: list[str | bytes] = [self.name, self.parent]
        for name, mode, content in self.files:
            parts += [name, oct(mode), content]
        return f"testbed/{self.name}:{store.key_of(parts)[:_TAG_DIGITS]}"

    def context(self) -> io.BytesIO:
        output = io.BytesIO()
        with tarfile.open(fileobj=output, mode="w") as archive:
            for name, mode, content in self.files:
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(content), mode
                archive.addfile(member, io.BytesIO(content))
        output.seek(0)
        return output


def ensure_images(client: docker.DockerClient, cache: Path, events: Events) -> dict[Role, str]:
    """Return each role's image, after building those that are missing (about 40 s for all).

    Several processes may call it at once: one builds, the others wait.

    Raises:
        PreflightError: the base image of the user's choice, or Debian's sources, are not to be had.
        ResourceError: a build failed; its last lines are in the message.
    """
    with explained("look for images"):
        foreign = _foreign_root(client, events)
        root = foreign or f"testbed/rootfs:{_root_key()[:_TAG_DIGITS]}"
        base = _recipe("base", root, "ROOTFS")
        kinds = {role: _recipe(role, base.tag, "BASE") for role in Role if role is role.kind}
        tags = {role: kinds[role.kind].tag for role in Role}
        if _present(client).issuperset(tags.values()):
            return tags
    with store.locked(cache / IMAGES, limit_s=_LIMIT_S):
        present = _present(client)
        if not foreign and root not in present:
            _import_root(client, root, cache, events)
        if base.tag not in present:
            _build(client, events, base)
        missing = [recipe for recipe in kinds.values() if recipe.tag not in present]
        with ThreadPoolExecutor(_BUILDERS) as pool:
            list(pool.map(partial(_build, client, events), missing))
        _remove_old(client, keep=_KEPT)
    return tags


def current_tags(client: docker.DockerClient) -> dict[Role, str]:
    """Return each role's image as `ensure_images` would have it, built or not; builds nothing."""
    with explained("look for images"):
        name = os.environ.get(BASE_IMAGE, "")
        root = (
            str(client.images.get(name).id)
            if name
            else f"testbed/rootfs:{_root_key()[:_TAG_DIGITS]}"
        )
        base = _recipe("base", root, "ROOTFS")
        return {role: _recipe(role.kind, base.tag, "BASE").tag for role in Role}


def remove_images(client: docker.DockerClient) -> int:
    """Remove every image of ours that no container uses; return how many are left."""
    with explained("remove images"):
        _remove_old(client, keep=0)
        return len(_present(client))


def _remove_old(client: docker.DockerClient, *, keep: int) -> None:
    """Remove our images but the `keep` newest of each role; those in use stay."""
    for name in (*Role, "base", "rootfs"):  # an image goes only after those that stand on it
        found = client.api.images(filters={"label": f"{LABEL}={name}"})
        found.sort(key=lambda image: image["Created"], reverse=True)
        for image in found[keep:]:
            for tag in image["RepoTags"] or (image["Id"],):
                try:
                    client.api.remove_image(tag)
                except APIError as error:
                    if error.status_code != HTTPStatus.CONFLICT:
                        raise


def _foreign_root(client: docker.DockerClient, events: Events) -> str:
    """Return the id of the image that the user names, empty when none is named."""
    name = os.environ.get(BASE_IMAGE, "")
    if not name:
        return ""
    try:
        try:
            image = client.images.get(name)
        except ImageNotFound:
            with events.step(f"pull {name}"):
                image = client.images.pull(name)
    except DockerException as error:
        raise PreflightError(
            f"no image {name!r} to be had: {error}",
            hint=f"set {BASE_IMAGE} to an image that Docker has, or unset it",
        ) from error
    return str(image.id)


def _recipe(name: str, parent: str, argument: str) -> _Recipe:
    root = TENANTS / name
    paths = [
        path
        for path in sorted(root.rglob("*"))
        if path.is_file() and not any(path.match(pattern) for pattern in _NOT_IN_IMAGES)
    ]
    files = (
        # What git keeps of a mode: the rest is the umask of whoever checked out.
        (str(path.relative_to(root)), 0o755 if os.access(path, os.X_OK) else 0o644, path)
        for path in paths
    )
    return _Recipe(
        name,
        parent,
        argument,
        tuple((place, mode, path.read_bytes()) for place, mode, path in files),
    )


def _present(client: docker.DockerClient) -> set[str]:
    found = client.api.images(filters={"label": LABEL})
    return {tag for image in found for tag in image["RepoTags"] or ()}


def _root_key() -> str:
    """Return the hash of our recipe and of the host's package sources and point release."""
    etc = Path("/etc")
    sources = [etc / "apt/sources.list", *sorted((etc / "apt/sources.list.d").glob("*"))]
    state = [path.read_bytes() for path in (*sources, etc / "debian_version") if path.is_file()]
    recipe = (apt.RELEASE, platform.machine(), *_PACKAGES, *_DPKG_OPTIONS, *_HOOKS)
    return store.key_of([*recipe, *state])


def _import_root(client: docker.DockerClient, tag: str, cache: Path, events: Events) -> None:
    family = cache / Family.ROOTFS
    directory = family / _root_key()
    store.prune(family, keep=_KEPT)
    store.obtain(directory, partial(_unpack, events), limit_s=_LIMIT_S)
    repository, _, version = tag.partition(":")
    with events.step("import the root file system"), explained(f"import image {tag!r}"):
        client.api.import_image(
            src=str(directory / "rootfs.tar"),
            repository=repository,
            tag=version,
            changes=[f"LABEL {LABEL}=rootfs"],
        )
        client.api.inspect_image(tag)  # an import that fails midway says so only in its output


def _unpack(events: Events, directory: Path) -> None:
    # fmt: off
    argv = [
        "mmdebstrap", "--quiet", "--mode=root", "--variant=apt", "--format=tar",
        f"--include={','.join(_PACKAGES)}", *apt.fetch_options(),
        *(f"--dpkgopt={option}" for option in _DPKG_OPTIONS),
        *(f"--customize-hook={hook}" for hook in _HOOKS),
        apt.RELEASE, str(directory / "rootfs.tar"), "-",
    ]
    # fmt: on
    with events.step("unpack the containers' packages"):
        process.run(
            argv,
            stdin=apt.debian_sources(),
            env={"TMPDIR": str(directory)},  # what a kill leaves behind is thrown away with it
            timeout_s=_LIMIT_S,
            whole_tree=True,
        )


def _build(client: docker.DockerClient, events: Events, recipe: _Recipe) -> None:
    """Build one image. Its network is the host's: apt needs the host's way to its mirror."""
    proxies = {name: os.environ[name] for name in _PROXIES if name in os.environ}
    last: list[str] = []
    with events.step(f"build image {recipe.name}"), explained(f"build image {recipe.tag!r}"):
        for message in client.api.build(
            fileobj=recipe.context(),
            custom_context=True,
            tag=recipe.tag,
            labels={LABEL: recipe.name},
            buildargs={recipe.parent_argument: recipe.parent, **proxies},
            network_mode="host",
            rm=True,
            forcerm=True,
            decode=True,
        ):
            if "error" in message:
                tail = "".join(last).strip()
                raise ResourceError(
                    f"cannot build image {recipe.tag!r}: {message['error']}\n{tail}"
                )
            last = [*last, message.get("stream", "")][-_TAIL:]
