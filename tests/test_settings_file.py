"""The settings file: where it is looked for, what it may say, and errors that say where."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from echo_actors import Settings, SettingsError, Trust, open_engine
from echo_actors.settings.example import example
from echo_actors.settings.file import MAX_BYTES
from echo_actors.settings.sources import gather
from echo_actors.testing.instant_driver import InstantDriver

CLONE = Path(__file__).resolve().parent.parent
FIELDS = attrs.fields(Settings)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with nothing in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(content: str | bytes, path: str = "echo_actors.toml") -> Path:
    """Write a settings file."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def refusal(content: str | bytes) -> SettingsError:
    """The error of a file."""
    put(content)
    with pytest.raises(SettingsError) as caught:
        Settings.load({})
    return caught.value


@pytest.mark.usefixtures("place")
class TestWhereItIs:
    """It is named, or beside the state directory."""

    def test_it_is_found_in_the_current_directory(self) -> None:
        """By default the state directory is there."""
        put('model = "opus"')
        assert Settings.load({}).model == "opus"

    def test_none_is_needed(self) -> None:
        """Nor has the state directory to be there."""
        assert Settings.load({}) == Settings()
        assert Settings.load({}, state_dir="not/there").model == "sonnet"

    @pytest.mark.parametrize("form", ["variable", "override"])
    def test_it_is_found_beside_the_state_directory(self, form: str) -> None:
        """Whoever says where that is; the one in the current directory is another engine's."""
        put('model = "haiku"')
        put('model = "opus"', "elsewhere/echo_actors.toml")
        loaded = (
            Settings.load({"ECHO_ACTORS_STATE_DIR": "elsewhere/state"})
            if form == "variable"
            else Settings.load({}, state_dir="elsewhere/state")
        )
        assert loaded.model == "opus"

    @pytest.mark.parametrize("state_dir", [".", "here/.."])
    def test_beside_the_current_directory_is_above_it(
        self, state_dir: str, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However it is written."""
        put('model = "opus"')
        (place / "here").mkdir()
        (place / "here" / "here").mkdir()
        monkeypatch.chdir(place / "here")
        assert Settings.load({}, state_dir=state_dir).model == "opus"

    def test_a_named_one_is_read_instead(self) -> None:
        """The one in code goes before the one in the variable."""
        put('model = "haiku"')
        put("turn_slots = 1", "a.toml")
        put("turn_slots = 2", "b.toml")
        environment = {"ECHO_ACTORS_SETTINGS_FILE": "a.toml"}
        assert (Settings.load(environment).turn_slots, Settings.load(environment).model) == (1, "sonnet")
        assert Settings.load(environment, settings_file="b.toml").turn_slots == 2

    def test_an_empty_name_says_that_none_is_read(self) -> None:
        """Not even one that would be found."""
        put("modle = 1")
        assert Settings.load({"ECHO_ACTORS_SETTINGS_FILE": ""}) == Settings()

    def test_a_named_one_must_be_there(self) -> None:
        """It would be no surprise to its author that a slip of the pen is one."""
        with pytest.raises(SettingsError, match=r"a\.toml: It cannot be read: No such file"):
            Settings.load({}, settings_file="a.toml")

    def test_the_constructor_reads_none(self) -> None:
        """It takes what it is given."""
        put('model = "opus"')
        assert Settings().model == "sonnet"

    async def test_an_engine_without_settings_reads_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As everybody else does."""
        monkeypatch.setattr("os.environ", {})
        put('mailbox_size = 7\nstate_dir = "there"')
        async with open_engine(driver=InstantDriver()) as engine:
            assert engine.settings.mailbox_size == 7
        assert "audit.jsonl" in os.listdir("there")  # noqa: PTH208 - a look, from a coroutine

    async def test_an_engine_does_not_open_with_one_that_is_wrong(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """And leaves nothing."""
        monkeypatch.setattr("os.environ", {})
        put("mailbox_size = 0")
        with pytest.raises(SettingsError, match="mailbox_size"):
            async with open_engine(driver=InstantDriver()):
                pass
        assert os.listdir() == ["echo_actors.toml"]  # noqa: PTH208 - a look, from a coroutine


@pytest.mark.usefixtures("place")
class TestWhoseItIs:
    """One that is only found says which program is run; it must not be a stranger's."""

    @pytest.mark.parametrize("owner", [0, 12345])
    def test_another_users_file_is_read_only_if_it_is_named(self, owner: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Root may do everything anyway."""
        file = put('model = "opus"')
        stranger = os.stat_result((*file.stat()[:4], owner, *file.stat()[5:]))
        monkeypatch.setattr("os.geteuid", lambda: 4711)
        monkeypatch.setattr("os.fstat", lambda _: stranger)
        monkeypatch.setattr(Path, "lstat", lambda _: stranger)
        if owner:
            with pytest.raises(SettingsError, match="another user's"):
                Settings.load({})
        else:
            assert Settings.load({}).model == "opus"
        assert Settings.load({}, settings_file=file).model == "opus"

    def test_a_strangers_link_to_a_file_of_mine_is_not_followed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Relative paths would be the stranger's."""
        put('model = "opus"', "mine.toml")
        link = Path("echo_actors.toml")
        link.symlink_to("mine.toml")
        stranger = os.stat_result((*link.lstat()[:4], os.geteuid() + 1, *link.lstat()[5:]))
        monkeypatch.setattr(Path, "lstat", lambda _: stranger)
        with pytest.raises(SettingsError, match="another user's"):
            Settings.load({})

    def test_a_link_of_mine_is_followed(self) -> None:
        """As configuration is often kept."""
        put('model = "opus"', "mine.toml")
        Path("echo_actors.toml").symlink_to("mine.toml")
        assert Settings.load({}).model == "opus"

    def test_a_file_that_everybody_may_write_to_is_read_only_if_it_is_named(self) -> None:
        """It may be anybody's words."""
        file = put('model = "opus"')
        file.chmod(0o666)
        with pytest.raises(SettingsError, match="Everybody may write"):
            Settings.load({})
        assert Settings.load({}, settings_file=file).model == "opus"


@pytest.mark.usefixtures("place")
class TestWhatItSays:
    """Values, tables, paths."""

    def test_each_source_goes_before_the_next(self) -> None:
        """Overrides, variables, the file, defaults."""
        put("turn_slots = 2\nspares = 2\nmax_attempts = 2")
        environment = {"ECHO_ACTORS_TURN_SLOTS": "3", "ECHO_ACTORS_SPARES": "3"}
        loaded = Settings.load(environment, turn_slots=4)
        assert (loaded.turn_slots, loaded.spares, loaded.max_attempts, loaded.mailbox_size) == (4, 3, 2, 100)

    def test_it_is_told_where_each_value_comes_from(self) -> None:
        """With the line, where it is the file."""
        put("\nturn_slots = 2\nspares = 2\n\n[environment]\nA = '1'")
        sources = gather(Settings, {"ECHO_ACTORS_SPARES": "3"}, {"model": "opus"}).sources
        assert {name: source for name, source in sources.items() if source != "default"} == {
            "turn_slots": "echo_actors.toml:2",
            "spares": "ECHO_ACTORS_SPARES",
            "environment": "echo_actors.toml:5",
            "model": "option",
        }
        assert set(sources) == {field.name for field in FIELDS}

    def test_tables_are_what_they_are_in_code(self) -> None:
        """Of channels, of policies, of variables."""
        put("""
            idle_timeout = inf
            [channels."discord:42"]
            model = "haiku"
            [channels."discord:42".policies.member]
            allowed_tools = ["Read"]
            [policies.external]
            available_tools = []
            [environment]
            A = "1"
        """)
        loaded = Settings.load({})
        assert loaded.channels["discord:42"].model == "haiku"
        assert (loaded.channels["discord:42"].policies or {})[Trust.MEMBER].allowed_tools == ("Read",)
        assert loaded.policies[Trust.EXTERNAL].available_tools == ()
        assert (loaded.environment, loaded.idle_timeout) == ({"A": "1"}, float("inf"))

    def test_paths_are_relative_to_the_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also those of channels; the home directory has its sign, and what is absolute stays so."""
        monkeypatch.setenv("HOME", "/home/me")
        put(
            """
            state_dir = "s"
            personality_dir = "~/p"
            claude_bin = "/usr/bin/claude"
            add_dirs = ["x"]
            [channels.c]
            working_dir = "w"
            """,
            "etc/a.toml",
        )
        loaded = Settings.load({"ECHO_ACTORS_AUDIT_PATH": "a"}, settings_file="etc/a.toml")
        assert (loaded.state_dir, loaded.personality_dir) == (Path("etc/s"), Path("/home/me/p"))
        assert (loaded.claude_bin, loaded.audit_path) == (Path("/usr/bin/claude"), Path("a"))
        assert (loaded.working_dir, loaded.add_dirs) == (Path(), ("x",))
        assert loaded.channels["c"].working_dir == Path("etc/w")

    @pytest.mark.parametrize("form", ["\ufeffmodel = 'opus'", "model = 'opus'\r\nspares = 1\r\n", "model='opus'"])
    def test_editors_of_all_systems_may_write_it(self, form: str) -> None:
        """With a byte order mark, with other ends of lines, without the last one."""
        put(form)
        assert Settings.load({}).model == "opus"

    def test_an_empty_one_says_nothing(self) -> None:
        """Nor do comments."""
        put("")
        assert Settings.load({}) == Settings()


@pytest.mark.usefixtures("place")
class TestErrors:
    """Each says the file, the line, and what was probably meant."""

    @pytest.mark.parametrize(
        ("content", "line", "says", "nearest"),
        [
            ("\nmodle = 'opus'", 2, "There is no setting modle.", "model"),
            ("\nMODEL = 'opus'", 2, "There is no setting MODEL.", "model"),
            ("audit-content = true", 1, "There is no setting audit-content.", "audit_content"),
            ("spares = 0\nworking_dir = '~nobody-at-all/x'", 2, "working_dir: Could not determine home", ""),
            ("[cli_settings]\nx = inf", 1, "cli_settings: it cannot be JSON: Out of range float", ""),
            ("[cli_settings]\nx = 99999999999999999999", 1, "cli_settings: it cannot be JSON: Integer exceeds", ""),
            ("turn_slots = 'many'", 1, "turn_slots must be a whole number", ""),
            ("turn_slots = 1.5", 1, "turn_slots must be a whole number", ""),
            ("turn_slots = true", 1, "turn_slots must be a whole number", ""),
            ("warm = 1", 1, "warm must be true or false", ""),
            ("\nturn_slots = 0", 2, "turn_slots must be at least 1", ""),
            ("idle_timeout = -1", 1, "idle_timeout must be a positive", ""),
            ("idle_timeout = '10m'", 1, "idle_timeout must be a number", ""),
            ("total_timeout = inf", 1, "finite", ""),
            ("state_dir = 2026-01-01", 1, "state_dir must be a path", ""),
            ("models = [\n'a',\n7]", 1, "models must be a list of texts", ""),
            ("spares = 1\nmodel = 'sonet'", 2, "Unknown model 'sonet'", "sonnet"),
            ("effort = 'hihg'", 1, "effort must be one of", "high"),
            ("full_mailbox = 'x'", 1, "full_mailbox must be reject, ", ""),
            ("[channels.'discord:42']\nmailbox_sise = 1", 2, "discord:42: There is no ChannelOptions", "mailbox_size"),
            ("[channels.c]\nwarm = 1", 2, "There is no ChannelOptions 'warm'", ""),
            ("[channels.c]\nmailbox_size = 'x'", 2, "c: mailbox_size must be a whole number", ""),
            ("[channels.c]\n\nmodel = 'opos'", 3, "Unknown model 'opos'", "opus"),
            ("[channels.c]\nfallback_model = 'opos'", 2, "Unknown model 'opos'", "opus"),
            ("[channels]\na = {}\nc = 3", 3, "channels: c must be a table", ""),
            ("channels = 3", 1, "channels must be a table", ""),
            ("[policies.external]\nmodel = 'haiku'\n[policies.extrnal]", 3, "There is no 'extrnal'", "external"),
            ("[policies.owner]\nmodel = 'opos'", 2, "Unknown model 'opos'", "opus"),
            ("[channels.c.policies.owner]\nmodel = 'opos'", 2, "Unknown model 'opos'", "opus"),
            ("[channels.c.policies.owner]\n[channels.c.policies.ownr]", 2, "There is no 'ownr'", "owner"),
            ("[environment]\nA = '1'\nB = 2", 3, "environment: B must be text, not a whole number", ""),
            ("[mcp_servers.a]\ncommand = 'x'\n[mcp_servers.b]\ncomand = 'x'", 3, "b needs command", "comand"),
            ("[mcp_servers.b]\ncommand = 'x'\ntype = 'stdoi'", 3, "there is no 'stdoi'", "stdio"),
            ("[channels.c.mcp_servers.b]\ntype = 'stdoi'", 2, "there is no 'stdoi'", "stdio"),
            ("[[hooks.Stop]]\n[[hooks.Stop.hooks]]\ntype = 'htp'", 3, "there is no 'htp'", "http"),
            ("spares = 1\n\nspares = 2", 3, "It is no TOML: Cannot overwrite a value (is it there twice?)", ""),
            ("[policies]\n[channels]\n[policies]", 3, "Cannot declare ('policies',) twice", ""),
            ("model = opus", 1, "It is no TOML: Invalid value", ""),
            ("models = [\n'a',\n", 3, "It is no TOML", ""),
            (b"model = 'opus'\n# caf\xe9", 2, "It is not UTF-8: byte 0xe9.", ""),
            ("model = 'opus'".encode("utf-16"), 1, "It is not UTF-8", ""),
        ],
    )
    def test_what_cannot_be_meant(self, content: str | bytes, line: int, says: str, nearest: str) -> None:
        """The line is that of the key, or of the table around it."""
        problem = refusal(content)
        assert says in problem.reason
        assert (problem.file, problem.line, problem.nearest) == ("echo_actors.toml", line, nearest)
        assert str(problem).startswith(f"echo_actors.toml:{line}: ")

    def test_an_error_of_another_source_does_not_blame_the_file(self) -> None:
        """The variable goes before it."""
        put("model = 'opus'\nspares = 1")
        with pytest.raises(SettingsError) as caught:
            Settings.load({"ECHO_ACTORS_MODEL": "x"})
        assert (caught.value.file, caught.value.line) == ("", 0)

    def test_what_is_wrong_is_wrong_also_where_something_goes_before_it(self) -> None:
        """It would show up later, when nobody remembers it."""
        put("turn_slots = 0")
        with pytest.raises(SettingsError, match=r"echo_actors\.toml:1"):
            Settings.load({}, turn_slots=1)

    def test_a_secret_beside_the_mistake_is_not_told(self) -> None:
        """Errors go to logs."""
        problem = refusal("[environment]\nANTHROPIC_API_KEY = 'sekrit'\nB = 2")
        assert "sekrit" not in str(problem)

    @pytest.mark.parametrize(
        "content",
        [
            "environment = 'API_KEY=sekrit'",
            "[environment]\nAPI_KEY = ['sekrit']",
            "mcp_servers = 'sekrit'",
            "cli_arguments = ['--token', 'sekrit', 3]",
            "cli_arguments = '--token sekrit'",
            "[[channels]]\ncli_settings = { a = 'sekrit' }",
            "append_system_prompt = ['sekrit']",
        ],
    )
    def test_a_secret_in_the_mistake_is_not_told(self, content: str) -> None:
        """Errors say of which kind it is instead."""
        assert "sekrit" not in str(refusal(content))

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("ECHO_ACTORS_ENVIRONMENT", '{"TOKEN": "sekrit",}'),
            ("ECHO_ACTORS_ENVIRONMENT", '["sekrit"]'),
            ("ECHO_ACTORS_CLI_ARGUMENTS", "--token sekrit"),
            ("ECHO_ACTORS_HOOKS", "[" * 990 + "]" * 990),
            ("ECHO_ACTORS_MCP_SERVERS", '{"a": {"env": {"K": "sekrit"}}}'),
            ("ECHO_ACTORS_TURN_SLOTS", "0"),
            ("ECHO_ACTORS_MODEL", "opos"),
        ],
    )
    def test_a_variable_that_is_wrong_is_named_and_keeps_its_secret(self, name: str, text: str) -> None:
        """Whether its form is wrong or what is in it."""
        with pytest.raises(SettingsError) as caught:
            Settings.load({name: text})
        assert name in str(caught.value)
        assert "sekrit" not in str(caught.value)
        assert len(str(caught.value)) < 200

    def test_a_name_that_no_file_can_have_is_an_error(self) -> None:
        """Of the same kind as all others."""
        with pytest.raises(SettingsError, match="null byte"):
            Settings.load({}, settings_file="a\0b")

    @pytest.mark.parametrize("named", [False, True], ids=["found", "named"])
    @pytest.mark.parametrize("kind", ["directory", "pipe", "unreadable", "huge", "loop"])
    def test_what_is_no_such_file_is_an_error(self, kind: str, named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing waits for it, or takes it into memory."""
        path = Path("echo_actors.toml")
        match kind:
            case "directory":
                path.mkdir()
            case "pipe":
                os.mkfifo(path)
            case "unreadable":
                path.touch()
                monkeypatch.setattr("os.open", _denied)
            case "huge":
                path.write_bytes(b"#" * 10_000_000)
            case _:
                path.symlink_to(path)
        with pytest.raises(SettingsError) as caught:
            Settings.load({}, settings_file=path if named else None)
        assert (caught.value.file, caught.value.line) == ("echo_actors.toml", 0)
        assert re.search(
            "no regular file|more than 1,048,576 bytes|Permission denied|symbolic links", str(caught.value)
        )

    def test_the_largest_one_is_read(self) -> None:
        """To the byte."""
        put(b"spares = 1\n".ljust(MAX_BYTES, b"#"))
        assert Settings.load({}).spares == 1

    def test_tables_without_end_are_an_error(self) -> None:
        """Not a crash."""
        assert "tables within tables" in str(refusal("hooks = " + "[" * 20_000 + "]" * 20_000))

    def test_a_misspelled_variable_for_it_has_its_hint(self) -> None:
        """Although it is no setting."""
        with pytest.raises(SettingsError, match="Did you mean 'ECHO_ACTORS_SETTINGS_FILE'"):
            Settings.load({"ECHO_ACTORS_SETTING_FILE": "x"})


def _denied(*_: Any) -> int:
    raise PermissionError(13, "Permission denied")


class TestTheExample:
    """It is made of the code."""

    def test_the_one_that_is_kept_is_that_of_the_code(self) -> None:
        """``echo-actors settings --example > examples/echo_actors.toml`` makes it again."""
        assert (CLONE / "examples" / "echo_actors.toml").read_text(encoding="utf-8") == example()

    def test_it_has_every_setting_and_its_meaning(self) -> None:
        """Once."""
        single, tables = example().split("\n# [", 1)
        for field in FIELDS:
            found = re.findall(rf"^# ?{field.name} = .", single, re.MULTILINE)
            found += re.findall(rf"^# \[+{field.name}\b", f"# [{tables}", re.MULTILINE)[:1]
            assert len(found) == 1, field.name
            assert " ".join(field.metadata["doc"].split()[:6]) in example()

    def test_as_it_is_nothing_is_set(self) -> None:
        """All of it is comment."""
        assert tomllib.loads(example()) == {}

    def test_what_has_a_default_has_it_there(self, place: Path) -> None:
        """Uncommented, it changes nothing."""
        del place
        put(re.sub(r"^#(?=\S|    )", "", example(), flags=re.MULTILINE))
        found = gather(Settings, {}, {})
        assert found.file is not None
        assert len(found.file.values) > len(FIELDS) / 2
        assert found.build(Settings) == Settings()

    def test_every_example_in_it_can_be_used(self, place: Path) -> None:
        """Of settings that have no default, and of tables."""
        del place
        put(re.sub(r"^#(?=\S|    )|^# (?=\w+ = .|\[)", "", example(), flags=re.MULTILINE))
        found = gather(Settings, {}, {})
        assert found.file is not None
        assert set(found.file.values) == {field.name for field in FIELDS}
        assert found.build(Settings).policies[Trust.EXTERNAL].allowed_tools == ("WebSearch",)


async def test_reading_takes_no_time_that_a_loop_would_miss(tmp_path: Path) -> None:
    """A file with very long texts and lists is read in one go, not again and again."""
    lines = "".join(f'"Bash(x{number} [a])",\n' for number in range(20_000))
    file = tmp_path / "a.toml"
    file.write_text(f'append_system_prompt = """{"[x]" * 50_000}"""\nallowed_tools = [\n{lines}]\n')
    with trio.fail_after(30):
        await trio.lowlevel.checkpoint()
        assert len(Settings.load({}, settings_file=file).allowed_tools) == 20_000
