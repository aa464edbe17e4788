"""Library: sources of files and labels, which are folders, manifests, label tables and public archives."""
