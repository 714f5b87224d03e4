"""The scenarios that the README and docs/scenarios.md show are scenarios: they run, and pass."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PAGES = (_ROOT / "README.md", _ROOT / "docs/scenarios.md")
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

for _page in _PAGES:
    _shown = [
        text for text in _BLOCK.findall(_page.read_text(encoding="utf-8")) if "\ndef " in text
    ]
    assert _shown, f"{_page} shows no scenario"
    for _text in _shown:
        exec(compile(_text, _page, "exec"))  # noqa: S102 - our own text
