"""Public mammography archives, each read from its own published files.

An adapter knows an archive's file layout, the columns of its label files and its official split, and nothing else. It
gives one table with a row an image (``rows.ImageRows``), and ``rows.offered`` makes candidates of it, the same for all.
"""
