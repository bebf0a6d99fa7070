"""The tools that a turn may use when nobody says otherwise."""

from __future__ import annotations

DEFAULT_TOOLS = (
    *("Read", "Edit", "Write", "Glob", "Grep", "WebFetch", "WebSearch"),
    *("Bash(python3 *)", "Bash(pip *)", "Bash(pytest *)"),
    *(
        f"Bash(git {verb} *)"
        for verb in ("add", "commit", "push", "pull", "status", "diff", "log", "checkout", "branch", "stash")
    ),
    *("Bash(npm *)", "Bash(node *)", "Bash(npx *)", "Bash(systemctl --user *)", "Bash(trash *)"),
    *(f"Bash({name} *)" for name in ("mkdir", "cp", "mv", "ls", "cat", "chmod", "docker", "docker-compose")),
)
"""The tools that a turn may use without being asked, unless ``allowed_tools`` says otherwise."""
