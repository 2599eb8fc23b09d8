"""Bulk operations: one decision about many jobs or dead letters, previewed, confirmed with a reason and carried out in chunks.

``freezing`` makes the preview, ``decisions`` are an operator's (begin, cancel, resume), ``chunks`` is the work of the
cluster, and ``trial`` stops it when the first members fail again. ``registry`` lists the kinds of operations.
"""
