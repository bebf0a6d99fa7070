"""The audit log: one JSON line per step of the engine, chained so that an edit shows."""

from echo_actors.audit.chain import Head
from echo_actors.audit.checking import Verdict, verify
from echo_actors.audit.files import log_files
from echo_actors.audit.log import AuditLog, Record
from echo_actors.audit.opening import open_audit
from echo_actors.audit.record import text_fields
from echo_actors.audit.rotation import Keeping

__all__ = ["AuditLog", "Head", "Keeping", "Record", "Verdict", "log_files", "open_audit", "text_fields", "verify"]
