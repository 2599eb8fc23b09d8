"""Dead letters: found by scans, stored whole, grouped by failure, replayed or discarded by operators (I9).

``scan`` reads a queue, ``snapshot`` stores its messages, ``operations`` records the requests of operators, ``replay``
carries them out on the messages that a scan holds, and ``check`` raises the alerts. Only ``scan``, ``replay``,
``sending`` and ``queue_visit`` talk to SQS.
"""
