"""The commands of ``breast-density``, by subject.

They import what they need when they run: TensorFlow and TFX take seconds to import, and ``--help`` must be fast.
"""
