"""Serving: client, local model server, gateway, DICOM results."""
