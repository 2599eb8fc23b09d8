"""Dead letters: found by scans, kept whole, grouped by failure, replayed or discarded on an operator's word (I9).

``scan`` reads a queue, ``snapshot`` keeps what it holds, ``replay`` does what is wished to the messages in
hand, ``operations`` takes the wishes, ``check`` tells. Only these talk to SQS: ``scan``, ``replay``, ``sending``, ``queue_visit``.
"""
