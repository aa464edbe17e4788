"""The ArchiveScan node: finds spans and fingerprint of an archive while the pipeline runs.

The local runner finds spans, fingerprints and the key of the hashes before a run. On a cluster, only the pods can read
the archive, and open-source Kubeflow Pipelines v2 does not call the driver of an ExampleGen, which resolves ``{SPAN}``.
"""
