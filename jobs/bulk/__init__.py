"""One decision about many: previewed on frozen members, confirmed with a reason, carried out in paced chunks.

``freezing`` makes the preview, ``decisions`` are an operator's (begin, cancel, resume), ``chunks`` is what the
cluster does, ``trial`` stops it when the first ones fail again. What can be done, to what, is in ``registry``.
"""
