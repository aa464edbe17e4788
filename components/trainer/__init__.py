"""The Trainer node: 41-layer ResNets, one per view, per projection, or one for all views."""

from __future__ import annotations

from typing import Final

NETWORK_FILE: Final = "network.keras"
HISTORY_FILE: Final = "history.json"
