"""This project's own runner for Spark and Flink: Beam's stages as jobs of the engine.

Only the configuration names it (``pipeline/beam/config.py``), and nothing else imports it. ``docs/scaling.md`` says
when to take it instead of Beam's job servers, and what would retire it.
"""
