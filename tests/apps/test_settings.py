"""A flag before the environment, that before the file, that before the default; and no secret is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory import ConfigurationError
from betterdb_agent_memory.apps.cli.app import hoisted
from betterdb_agent_memory.apps.cli.reading import seconds
from betterdb_agent_memory.apps.cli.settings import resolve
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.options.environment import KEYS
from betterdb_agent_memory.options.secrets import masked, secrets_of
from tests.apps.conftest import Run


def test_what_is_set_nearest_wins(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('url = "file.db"\nname = "from-file"\nthreshold = 0.5\n')
    environment = {"BETTERDB_URL": "env.db", "BETTERDB_NAME": "from-env", "BETTERDB_EMBEDDER": ""}
    found = resolve({"url": "flag.db", "name": None}, environment, file, must_exist=True)
    assert {name: (setting.value, setting.source) for name, setting in found.items()} == {
        "url": ("flag.db", "flag --url"),
        "name": ("from-env", "environment BETTERDB_NAME"),
        "embedder": (None, "default"),
        "threshold": (0.5, f"file {file}"),
        "retrieval": (None, "default"),
        "language": (None, "default"),
        "model": (None, "default"),
    }


def test_a_file_is_read_that_is_named_or_lies_in_the_users_folder(run: Run, tmp_path: Path) -> None:
    usual = tmp_path / ".config" / "betterdb-agent-memory" / "config.toml"
    usual.parent.mkdir(parents=True)
    usual.write_text('name = "usual"\n')
    (tmp_path / "own.toml").write_text('name = "own"\n')
    (tmp_path / "betterdb-memory.toml").write_text('name = "planted"\n')
    assert run("config", "show", "--json").json["name"] == {"value": "usual", "source": f"file {usual}"}
    assert run("--config", "own.toml", "config", "show", "--json").json["name"]["value"] == "own"
    assert run("config", "show", "--json", env={"BETTERDB_CONFIG": "own.toml"}).json["name"]["value"] == "own"
    missing = run("--config", "nowhere.toml", "config", "show")
    assert missing.code == 3
    assert "nowhere.toml" in missing.err


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('colour = "red"', "known are url, name, embedder, threshold, retrieval, language, model"),
        ("threshold = 3", "from 0 to 2"),
        ('threshold = "far"', "from 0 to 2"),
        ("threshold = true", "from 0 to 2"),
        ("name = 5", "a text"),
        ("name =", "no TOML"),
    ],
)
def test_a_file_with_mistakes_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=reason):
        resolve({}, {}, file, must_exist=True)


def test_settings_are_in_force(run: Run, tmp_path: Path) -> None:
    run("--url", "m.db", "--name", "other", "remember", "The cat is called Minka.")
    (tmp_path / "c.toml").write_text('url = "m.db"\nname = "other"\nthreshold = 0.0\nretrieval = "vector"\n')
    assert run("--config", "c.toml", "list", "--json").json["total"] == 1
    assert run("--config", "c.toml", "recall", "What is the cat called?").code == 1
    assert run("--config", "c.toml", "recall", "What is the cat called?", "--threshold", "1").code == 0
    assert run("--config", "c.toml", "recall", "What is the cat called?", env={"BETTERDB_THRESHOLD": "1"}).code == 0
    by_words = {"BETTERDB_RETRIEVAL": "hybrid"}
    assert run("--config", "c.toml", "recall", "What is the cat called?", env=by_words).code == 0
    assert run("--config", "c.toml", "recall", "What are the cats?", env=by_words).code == 0
    assert run("--config", "c.toml", "recall", "What is the cat called?", "--retrieval", "hybrid", "--exact").code == 0
    assert run("--config", "c.toml", "recall", "What is the cat called?", "--retrieval", "words").code == 3
    unknown = run("--config", "c.toml", "--language", "klingon", "recall", "What is the cat called?")
    assert unknown.code == 3
    assert "klingon" in unknown.err


def test_config_show_hides_secrets(run: Run) -> None:
    told = run("config", "show", env={"BETTERDB_URL": "valkey://maya:s3cr3t-word@host:6379"})
    assert told.code == 0
    assert "s3cr3t-word" not in told.out
    assert "valkey://maya:***@host:6379" in told.out


@given(user=st.text("abc", max_size=3), secret=st.text(st.characters(categories=["L", "Nd"]), min_size=4, max_size=12))
def test_no_password_gets_through(user: str, secret: str) -> None:
    url = f"valkey://{user}:{secret}-w0rd@host:6379/0?password={secret}-w0rd&timeout=5"
    assert f"{secret}-w0rd" not in masked(url)
    assert "timeout=5" in masked(url)
    assert f"{secret}-w0rd" in secrets_of(url)


@pytest.mark.parametrize("url", ["m.db", ":memory:", "valkey://host:6379", "valkey://maya@host/1", "unix:///tmp/s"])
def test_what_holds_no_secret_is_shown_as_it_is(url: str) -> None:
    assert masked(url) == url


def test_options_for_all_commands_may_stand_anywhere() -> None:
    assert hoisted(["recall", "tea", "--url=a.db", "--name", "n", "-k", "3", "--debug"]) == [
        *["--url=a.db", "--name", "n", "--debug", "recall", "tea", "-k", "3"]
    ]
    assert hoisted(["remember", "--json", "--", "--url"]) == ["--json", "remember", "--", "--url"]
    assert hoisted(["recall", "tea", "--url"]) == ["--url", "recall", "tea"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90),
        ("90s", 90),
        ("2m", 120),
        ("12h", 43_200),
        ("7d", 604_800),
        ("1d12h", 129_600),
        ("2W", 1_209_600),
        ("1.5h", 5400),
    ],
)
def test_durations(text: str, expected: int) -> None:
    assert seconds("--ttl", text) == expected


@pytest.mark.parametrize("text", ["", "soon", "7 days", "-5", "d7", "7d5"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="--ttl"):
        seconds("--ttl", text)


def test_every_key_has_a_variable_and_a_flag() -> None:
    assert [key.variable for key in KEYS] == [f"BETTERDB_{key.name.upper()}" for key in KEYS]
