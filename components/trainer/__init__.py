"""The Trainer node: one 41-layer ResNet a projection."""

from __future__ import annotations

from typing import Final

NETWORK_FILE: Final = "network.keras"
HISTORY_FILE: Final = "history.json"
