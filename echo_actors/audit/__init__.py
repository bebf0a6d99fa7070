"""The audit log: one JSON line per step of the engine, chained so that an edit shows."""

from echo_actors.audit.log import AuditLog, Head, Record, Verdict, open_audit, text_fields, verify

__all__ = ["AuditLog", "Head", "Record", "Verdict", "open_audit", "text_fields", "verify"]
