"""PostgreSQL, Valkey and an SQS emulator for trying out and for tests, from Python packages alone.

Each ends with the process that started it. They listen on a Unix socket or on loopback, never beyond. Another
process that wants the same folder's server uses the one that runs; what a killed owner left behind is cleared
away. Not for production: with its owner the server ends for everybody.
"""

from opsconsole.embedded.postgres import start_postgres
from opsconsole.embedded.service import EmbeddedServiceError, Service
from opsconsole.embedded.sqs import start_sqs
from opsconsole.embedded.valkey import start_valkey

__all__ = ["EmbeddedServiceError", "Service", "start_postgres", "start_sqs", "start_valkey"]
