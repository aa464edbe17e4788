"""Serving: signatures of the exported model, client, local server."""
