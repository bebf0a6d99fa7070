"""A scripted stand-in for the Claude CLI: it speaks stream-json over pipes and misbehaves on command.

Use it to test a program that drives the CLI, without an account, a model or the real program::

    path = write_scripted_cli(tmp_path)            # or: python -m echo_actors.simulator.cli --install DIR
    subprocess.Popen([path, "-p", "--input-format", "stream-json", "--session-id", some_uuid, ...])

Every message is answered `echo: <text>`, with the frames, the transcript, the idempotent uuids and the cumulative
costs of the real CLI. Each turn costs 100 tokens in, 20 out and 0.0004 USD. It takes `--session-id --resume --model
--permission-mode --permission-prompt-tool --include-partial-messages --version` and ignores every other flag. A
message sent while a turn generates text is merged with the others into the next turn; one sent while a tool runs is
steered into the turn (its own directives are then plain text). SIGTERM ends it with 143, the end of input with 0 (1
after an error result).

Directives, anywhere in a message's text; several combine, those of one moment act in the order of the text:

==============================  ================================================================================
before the message is started
``[[silence]]``                 nothing at all any more; the end of input and SIGTERM still end it
``[[ignore-sigterm]]``          ignores SIGTERM, SIGINT and the end of input from now on
``[[stray-result]]``            a result that names an unknown message; ``[[stray-result bare]]`` names none
``[[session-id UUID]]``         every frame from now on names this session; the transcript stays where it was
before the answer
``[[background N]]``            says that N tasks run in the background
``[[mode MODE]]``               takes that permission mode by itself, as one that leaves the plan mode does
``[[bad-json]]``                a broken line before the answer
``[[bad-utf8]]``                a tool result with invalid bytes within its string
``[[big-line N]]``              a tool result of N MiB on one line
``[[stderr N]]``                N bytes on standard error
``[[unknown-frame]]``           a frame of a type nobody knows
``[[delay S]]``                 S seconds of generating text
``[[hold S]]``                  S seconds of a tool phase, without a process
``[[tool-sleep N]]``            a tool: `sleep N` as a child in a session of its own, waited for
``[[ask-permission]]``          a can_use_tool request, waited for; ``[[ask-permission N]]`` puts N at once. Without
                                `--permission-prompt-tool stdio` the tool is denied instead
``[[ask-host JSON]]``           a control request with this JSON as its `request`, waited for; a tool's result has
                                the answer
``[[rate-limited T]]``          a rejected rate limit that resets at the Unix time T, and an error result
``[[double-fork]]``             leaves a double-forked `sleep 987` in a session of its own, with the environment
``[[exit N]]``                  exit code N before any answer
``[[die]]``                     SIGKILL to itself; the transcript has the question and no answer
about the answer
``[[blocks N]]``                N text blocks, `echo 1: ...` to `echo N: ...`; the result has the last
``[[deltas N]]``                each block as N text deltas (with --include-partial-messages)
``[[inside]]``                  a rate_limit_event, with its newline, in the middle of the answer's line
``[[empty]]``                   no answer, and a successful result with an empty text at no cost
``[[is-error STATUS]]``         result success with is_error and api_error_status STATUS
``[[error-kind KIND]]``         the answer carries `error: KIND`, the result is an error: authentication_failed,
                                billing_error, rate_limit, overloaded_error, invalid_request, server_error, ...
about the result
``[[no-result]]``               answers, then nothing any more; stays alive
``[[no-result-exit]]``          answers, then exits with 0, or with N: ``[[no-result-exit N]]``
``[[result-twice]]``            the same result again
after the result
``[[stop-reading]]``            never reads standard input again
``[[grandchild]]``              leaves a `sleep 987` that holds standard output open, and exits with 0
==============================  ================================================================================

Environment:

* ``SCRIPTED_CLI_VERSION``: the version to be (default 2.1.330). Below 2.1.248, or unreadable: no lifecycle, no
  capabilities, no message uuids in frames, no usage since the last result, and a repeated uuid runs again.
* ``SCRIPTED_CLI_ASKED``: a file that gets one JSON line ``{uuid, text, session_id, pid}`` per message really run.
* ``SCRIPTED_CLI_FAULT``: ``slow-start S``; ``exit-at-start N TEXT`` (TEXT on standard error); ``not-reading``;
  ``die-before-init`` (SIGKILL after the lifecycle started); ``no-init``; ``bare-replay`` (a repeated uuid gets its
  replay without a lifecycle); ``refuse-changes`` (of model and permission mode); or directives, ``[[die]]``, which are
  added to the first message of the process.
* ``SCRIPTED_CLI_FAULT_ONCE``: a file; the fault happens only if it does not exist, and creates it.
"""

from __future__ import annotations

import importlib
import sys

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the time its import takes
if TYPE_CHECKING:
    from pathlib import Path


def write_scripted_cli(directory: Path) -> Path:
    """Write an executable `claude` into an existing directory; return its path.

    It is a shell script, because the path of an interpreter may be too long, or have a space, for a first line.
    """
    import shlex  # noqa: PLC0415 - the scripted CLI itself, which is this file as well, must start fast
    import tempfile  # noqa: PLC0415 - as above

    path = directory / "claude"
    command = [sys.executable, "-I", "-S", __file__]
    # Not in place: a program that is being started cannot be written, and one that is half written runs as nothing.
    with tempfile.NamedTemporaryFile("w", dir=directory, encoding="utf-8", delete=False) as file:
        file.write(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    written = directory / file.name
    written.chmod(0o755)
    return written.replace(path)


def main() -> None:
    """Install, or be the CLI."""
    if sys.argv[1:2] == ["--install"]:
        from pathlib import Path  # noqa: PLC0415 - the scripted CLI itself, which is this file as well, must start fast

        sys.stdout.write(f"{write_scripted_cli(Path(sys.argv[2]).absolute())}\n")
        return
    if not __package__:
        # At the end: the modules beside this file must not hide those of the standard library.
        sys.path.append(__file__.rpartition("/")[0])
    prefix = f"{__package__}." if __package__ else ""
    importlib.import_module(f"{prefix}scripted.host").main(sys.argv[1:])


if __name__ == "__main__":
    main()
