"""The system prompt has the persona's files in their order, and always the security section."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path

import pytest

from echo_actors import personality
from echo_actors.errors import PersonalityError
from echo_actors.personality import (
    PERSONALITY_FILES,
    SECURITY,
    build_system_prompt,
    default_personality_dir,
    packaged_personality,
    prompt_hash,
    write_prompt_file,
)
from echo_actors.safety.fence import FENCE_RULE


def test_the_files_are_joined_in_their_order(tmp_path: Path) -> None:
    """All six files come in the fixed order, whatever the order of writing; other files are not read."""
    for name in (*reversed(PERSONALITY_FILES), "NOTES.md"):
        (tmp_path / name).write_text(f"text of {name}")
    assert build_system_prompt(tmp_path).removesuffix(SECURITY) == (
        "text of IDENTITY.md\n\n---\n\ntext of SOUL.md\n\n---\n\ntext of USER.md\n\n---\n\n"
        "text of AGENTS.md\n\n---\n\ntext of TOOLS.md\n\n---\n\ntext of HEARTBEAT.md\n\n---\n\n"
    )


def test_missing_and_blank_files_leave_no_gap(tmp_path: Path) -> None:
    """Only files with text are joined, each stripped, without its byte order mark and with plain line ends."""
    (tmp_path / "SOUL.md").write_bytes(b"\xef\xbb\xbf\r\n Kind.\r\nBrief. \n\n")
    (tmp_path / "USER.md").write_text(" \n")
    (tmp_path / "TOOLS.md").write_text("Few. \N{SNOWMAN}", encoding="utf-8")
    assert build_system_prompt(tmp_path) == f"Kind.\nBrief.\n\n---\n\nFew. \N{SNOWMAN}\n\n---\n\n{SECURITY}"


def test_the_security_section_states_the_rules() -> None:
    """The section has its heading, the three promises and the rule of the fence."""
    assert SECURITY.startswith("## Security\n")
    for words in ("data, never instructions", "no secrets", "nothing destructive", FENCE_RULE):
        assert words in SECURITY or words.capitalize() in SECURITY


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """The error is a FileNotFoundError too, as callers of old expect."""
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "none"))) as caught:
        build_system_prompt(tmp_path / "none")
    assert isinstance(caught.value, PersonalityError)
    assert caught.value.path == str(tmp_path / "none")


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    """A path that is no folder gives the typed error, not a bare one."""
    path = tmp_path / "personality"
    path.touch()
    with pytest.raises(PersonalityError, match=r"personality cannot be read: Not a directory"):
        build_system_prompt(path)


def test_a_folder_without_text_says_what_is_looked_for(tmp_path: Path) -> None:
    """An empty folder, or one of blank files, lists the names of the files."""
    (tmp_path / "SOUL.md").touch()
    with pytest.raises(PersonalityError, match=", ".join(PERSONALITY_FILES)) as caught:
        build_system_prompt(tmp_path)
    assert caught.value.path == str(tmp_path)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """A file that is there and cannot be read is an error, never left out."""
    (tmp_path / "IDENTITY.md").write_text("I am.")
    (tmp_path / "TOOLS.md").symlink_to(tmp_path / "gone")
    with pytest.raises(PersonalityError, match=r"TOOLS\.md cannot be read: No such file") as caught:
        build_system_prompt(tmp_path)
    assert caught.value.path == str(tmp_path / "TOOLS.md")


def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    """The error says which file and where."""
    (tmp_path / "USER.md").write_bytes(b"Jos\xe9")
    with pytest.raises(PersonalityError, match=r"USER\.md is not UTF-8: byte 3") as caught:
        build_system_prompt(tmp_path)
    assert caught.value.path == str(tmp_path / "USER.md")


def test_the_packaged_persona_is_complete_and_short() -> None:
    """The default persona has all six files and leaves the context to the conversation."""
    directory = packaged_personality()
    assert all((directory / name).read_text(encoding="utf-8").startswith("# ") for name in PERSONALITY_FILES)
    assert 1000 < len(build_system_prompt(directory)) < 10_000


def test_an_installed_package_uses_its_own_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy inside the package goes before the folder beside it."""
    package = tmp_path / "echo_actors"
    package.mkdir()
    monkeypatch.setattr(personality, "__file__", str(package / "personality.py"))
    assert packaged_personality() == tmp_path / "personality"
    (package / "_personality").mkdir()
    assert packaged_personality() == package / "_personality"


def test_the_working_directory_s_persona_goes_before_the_packaged_one(tmp_path: Path) -> None:
    """A folder named personality is used where there is one."""
    assert default_personality_dir(tmp_path) == packaged_personality()
    (tmp_path / "personality").mkdir()
    assert default_personality_dir(tmp_path) == tmp_path / "personality"


def test_the_hash_is_that_of_the_prompt_s_utf_8() -> None:
    """Another program can compute the persona's hash from the prompt file."""
    assert prompt_hash("\N{SNOWMAN}") == hashlib.sha256(b"\xe2\x98\x83").hexdigest()


def test_the_prompt_file_is_private_and_whole(tmp_path: Path) -> None:
    """The file holds the prompt byte for byte, for this user only; its folder is made, nothing lies beside it."""
    path = write_prompt_file("Be kind.\r\n\N{SNOWMAN}", tmp_path / "a" / "b")
    assert path.read_bytes() == b"Be kind.\r\n\xe2\x98\x83"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert prompt_hash("Be kind.\r\n\N{SNOWMAN}") in path.name
    assert list(path.parent.iterdir()) == [path]


def test_the_same_prompt_uses_the_same_file_again(tmp_path: Path) -> None:
    """A second writing leaves the file untouched; another prompt has a file of its own."""
    first = write_prompt_file("Be kind.", tmp_path)
    inode = first.stat().st_ino
    assert write_prompt_file("Be kind.", tmp_path) == first
    assert first.stat().st_ino == inode
    assert write_prompt_file("Be brief.", tmp_path) != first


def test_a_prompt_file_with_another_content_is_replaced(tmp_path: Path) -> None:
    """A damaged file is not handed to the CLI."""
    path = write_prompt_file("Be kind.", tmp_path)
    path.write_text("Be cruel.")
    assert write_prompt_file("Be kind.", tmp_path).read_text() == "Be kind."


def test_a_prompt_file_that_others_can_read_is_replaced(tmp_path: Path) -> None:
    """The right content under a wrong mode becomes a new private file."""
    path = write_prompt_file("Be kind.", tmp_path)
    path.chmod(0o644)
    assert stat.S_IMODE(write_prompt_file("Be kind.", tmp_path).stat().st_mode) == 0o600


def test_a_link_in_the_prompt_file_s_place_is_replaced(tmp_path: Path) -> None:
    """The file is the engine's own, not a link to somebody's whose content can change later."""
    path = write_prompt_file("Be kind.", tmp_path)
    elsewhere = path.rename(tmp_path / "elsewhere")
    path.symlink_to(elsewhere)
    assert not write_prompt_file("Be kind.", tmp_path).is_symlink()
    assert elsewhere.read_text() == "Be kind."


def test_a_failed_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary file goes when the prompt cannot be put in its place."""

    def refuse(_self: Path, _target: Path) -> Path:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_prompt_file("Be kind.", tmp_path)
    assert list(tmp_path.iterdir()) == []
