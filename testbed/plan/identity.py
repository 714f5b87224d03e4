"""The id of a deployment: what every name and label of a deployment is made from.

Apart from the plan's other types, since whatever only looks for deployments starts without those.
"""

from __future__ import annotations

import re
from typing import NewType

DeploymentId = NewType("DeploymentId", str)

ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
ID_LENGTH = 6
ID_PATTERN = f"[{ID_ALPHABET}]{{{ID_LENGTH}}}"


def parse_deployment_id(text: str) -> DeploymentId:
    """Return `text` as a deployment id.

    >>> parse_deployment_id("k3x7qa")
    'k3x7qa'

    Raises:
        ValueError: when it is none.
    """
    if not re.fullmatch(ID_PATTERN, text):
        raise ValueError(f"{text!a} is no deployment id: {ID_LENGTH} characters of a-z and 2-7")
    return DeploymentId(text)
