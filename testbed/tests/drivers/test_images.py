"""Which image a checkout asks for: the same until something that is in it changes."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError, ImageNotFound

from testbed.drivers import images
from testbed.errors import PreflightError, ResourceError
from testbed.events import Events
from testbed.plan.resources import Role


class _Api:
    """What Docker holds, and what it was asked to do."""

    def __init__(self, tags: set[str], log: list[dict[str, str]] | None = None) -> None:
        self.tags = tags
        self.log = log or [{"stream": "Successfully built\n"}]
        self.built: list[str] = []
        self.in_use: set[str] = set()

    def images(self, filters: dict[str, str]) -> list[dict[str, Any]]:
        name = filters["label"].partition("=")[2]
        chosen = sorted(tag for tag in self.tags if tag.startswith(f"testbed/{name}"))
        return [{"Id": t, "RepoTags": [t], "Created": n} for n, t in enumerate(chosen)]

    def build(self, **options: Any) -> list[dict[str, str]]:
        self.built.append(options["tag"])
        if not any("error" in message for message in self.log):
            self.tags.add(options["tag"])
        return self.log

    def remove_image(self, tag: str) -> None:
        if tag in self.in_use:
            raise APIError("in use", response=_Response())
        self.tags.discard(tag)


class _Response:
    status_code = 409
    url = reason = "conflict"
    text = ""


class _Client:
    """A Docker client as far as images need one."""

    def __init__(self, api: _Api) -> None:
        self.api = api
        self.images = self

    def get(self, name: str) -> None:
        raise ImageNotFound(name)

    def pull(self, name: str) -> None:
        raise APIError(f"no such image {name}")


@pytest.fixture(autouse=True)
def tenants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of tenants with the least in it, instead of ours."""
    root = tmp_path / "tenants"
    for name in ("base", *Role):
        (root / name).mkdir(parents=True)
        (root / name / "Dockerfile").write_text("FROM scratch\n")
    monkeypatch.setattr(images, "TENANTS", root)
    monkeypatch.setattr(images, "_root_key", lambda: "f" * 16)
    monkeypatch.delenv(images.BASE_IMAGE, raising=False)
    return root


def _ensure(api: _Api, tmp_path: Path) -> dict[Role, str]:
    return images.ensure_images(_Client(api), tmp_path, Events())


@pytest.fixture
def api() -> _Api:
    return _Api({"testbed/rootfs:ffffffffffff"})


def test_missing_images_are_built_and_present_ones_are_not(api: _Api, tmp_path: Path) -> None:
    first = _ensure(api, tmp_path)
    images = 1 + len({role.kind for role in Role})
    assert len(api.built) == images
    assert set(first) == set(Role)
    assert _ensure(api, tmp_path) == first
    assert len(api.built) == images


def test_only_the_role_that_changed_is_built_again(
    api: _Api, tmp_path: Path, tenants: Path
) -> None:
    before = _ensure(api, tmp_path)
    (tenants / "dns" / "entrypoint").write_text("#!/bin/sh\n")
    after = _ensure(api, tmp_path)
    assert [role for role in Role if before[role] != after[role]] == [Role.DNS]
    assert api.built[-1] == after[Role.DNS]


def test_a_change_of_the_base_reaches_every_role(api: _Api, tmp_path: Path, tenants: Path) -> None:
    before = _ensure(api, tmp_path)
    (tenants / "base" / "Dockerfile").write_text("FROM other\n")
    after = _ensure(api, tmp_path)
    assert all(before[role] != after[role] for role in Role)


@pytest.mark.parametrize("name", ["README.md", "zone.j2"])
def test_what_is_not_in_an_image_does_not_change_it(
    api: _Api, tmp_path: Path, tenants: Path, name: str
) -> None:
    before = _ensure(api, tmp_path)
    (tenants / "dns" / name).write_text("more\n")
    assert _ensure(api, tmp_path) == before


def test_permission_to_execute_is_part_of_an_image(tenants: Path) -> None:
    path = tenants / "dns" / "tool"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o600)
    before = images._recipe("dns", "parent", "BASE")
    path.chmod(0o711)
    after = images._recipe("dns", "parent", "BASE")
    assert before.tag != after.tag
    with tarfile.open(fileobj=after.context()) as archive:
        modes = {member.name: member.mode for member in archive}
    assert modes == {"Dockerfile": 0o644, "tool": 0o755}


def test_failed_build_tells_docker_s_last_words(tmp_path: Path) -> None:
    log = [{"stream": "E: Unable to locate package nsd\n"}, {"error": "returned 100"}]
    api = _Api({"testbed/rootfs:ffffffffffff"}, log)
    with pytest.raises(ResourceError, match=r"returned 100\nE: Unable to locate package nsd"):
        _ensure(api, tmp_path)


def test_base_image_of_the_user_that_is_not_to_be_had(
    api: _Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(images.BASE_IMAGE, "nosuch:image")
    with pytest.raises(PreflightError, match="nosuch:image") as caught:
        _ensure(api, tmp_path)
    assert images.BASE_IMAGE in caught.value.hint


def test_removal_leaves_what_is_in_use(api: _Api, tmp_path: Path) -> None:
    tags = _ensure(api, tmp_path)
    api.in_use = {tags[Role.KDC]}
    assert images.remove_images(_Client(api)) == 1
    assert api.tags == {tags[Role.KDC]}
