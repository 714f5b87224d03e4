"""Writes the references, and removes what is no reference any more."""

from __future__ import annotations

import sys

from testbed.reference.pages import FOLDER, pages


def main() -> None:
    """Write every page that is not current and say which."""
    wanted = pages()
    for path in FOLDER.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()
            sys.stdout.write(f"removed {path.name}\n")
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path.name}\n")


if __name__ == "__main__":
    main()
