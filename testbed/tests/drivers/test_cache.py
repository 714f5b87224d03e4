from __future__ import annotations

from pathlib import Path

from testbed.drivers import cache


def test_emptying_leaves_what_else_is_in_the_folder_of_the_cache(tmp_path: Path) -> None:
    for name in (
        *("image/0123/build-id", "image/holidays.jpg", "private-hosts/0/images", "thesis"),
        *("durations.json", ".durations.json.4711", ".images.lock"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert cache.empty(tmp_path) == ("image", "thesis")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["holidays.jpg", "image", "thesis"]
    for name in ("image/holidays.jpg", "thesis"):
        (tmp_path / name).unlink()
    assert cache.empty(tmp_path) == ()
    assert not tmp_path.exists()
    assert cache.empty(tmp_path) == ()
