"""Interpret a header: view, acquisition system, special images and orientation."""
