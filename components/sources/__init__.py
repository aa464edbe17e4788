"""Where files and labels come from: folders, manifests, label tables, public archives."""
