"""Names of the files that a Trainer writes to its model's folder."""

from __future__ import annotations

from typing import Final

NETWORK_FILE: Final = "network.keras"
HISTORY_FILE: Final = "history.json"
