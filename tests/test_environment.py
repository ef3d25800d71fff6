"""Environment to settings: defaults, precedence, paths, and every mistake told by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimon_server.environment import read_settings, unknown_variables, variables
from minimon_server.errors import StartupError
from minimon_server.terminal import warnings_about

HOME = Path("/srv/minimon")
HERE = Path("/home/somebody")


def mistakes(**environ: str) -> list[str]:
    with pytest.raises(StartupError) as caught:
        read_settings(environ, home=HOME, here=HERE)
    assert caught.value.exit_status == 2
    return list(caught.value.lines)


def test_defaults_are_the_documents() -> None:
    settings = read_settings({}, home=HOME, here=HERE)
    assert settings.images_dir == HOME / "minimon"
    assert settings.image_pattern == "image_{:02d}.png"
    assert (settings.min_index, settings.max_index) == (0, 5)
    assert settings.generation_backend == "files"
    assert settings.rate_limit_per_min == 60
    assert (settings.host, settings.port, settings.http_port) == ("127.0.0.1", 22222, 8009)
    assert (settings.tls_cert_path, settings.tls_key_path) == (HOME / "certs/cert.pem", HOME / "certs/key.pem")
    assert settings.log_level == "INFO"
    assert settings.log_json
    assert settings.name_backend == "local"
    assert settings.name_language == "fr"
    assert settings.openai_base_url == "http://192.168.0.37:11434/v1"
    assert (settings.openai_model, settings.openai_timeout) == ("llama3.2:1b", 5.0)
    assert settings.openai_api_key.get_secret_value() == "dummy"
    assert settings.rarity_weights == (30, 22, 17, 12, 9, 6, 3, 1)


def test_a_path_that_is_named_starts_at_the_working_directory() -> None:
    settings = read_settings({"MINIMON_IMAGES_DIR": "./mine"}, home=HOME, here=HERE)
    assert settings.images_dir == HERE / "mine"
    assert read_settings({"MINIMON_IMAGES_DIR": "/abs"}, home=HOME, here=HERE).images_dir == Path("/abs")


def test_the_prefixed_name_wins_over_the_bare_one() -> None:
    assert read_settings({"LOG_LEVEL": "ERROR"}, home=HOME, here=HERE).log_level == "ERROR"
    both = {"LOG_LEVEL": "ERROR", "MINIMON_LOG_LEVEL": "debug"}
    assert read_settings(both, home=HOME, here=HERE).log_level == "DEBUG"


def test_only_what_the_documents_write_bare_is_read_bare() -> None:
    assert read_settings({"PORT": "1", "BEARER_TOKEN": "x"}, home=HOME, here=HERE).port == 22222


def test_an_empty_variable_counts_as_absent() -> None:
    settings = read_settings({"MINIMON_PORT": "", "LOG_JSON": "", "MINIMON_BEARER_TOKEN": ""}, home=HOME, here=HERE)
    assert settings.port == 22222
    assert settings.log_json
    assert not settings.has_token


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MINIMON_HOST", "not a host"),
        ("MINIMON_HOST", "256.1.1.1"),
        ("MINIMON_PORT", "0"),
        ("MINIMON_PORT", "65536"),
        ("MINIMON_PORT", "tcp://10.0.0.1:80"),
        ("MINIMON_HTTP_PORT", "-1"),
        ("MINIMON_SHUTDOWN_GRACE", "0"),
        ("MINIMON_GENERATION_BACKEND", "magic"),
        ("MINIMON_IMAGE_PATTERN", "image.png"),
        ("MINIMON_IMAGE_PATTERN", "{}{}"),
        ("MINIMON_IMAGE_PATTERN", "{0.__class__}"),
        ("MINIMON_IMAGE_PATTERN", "{:s}"),
        ("MINIMON_IMAGE_PATTERN", "{"),
        ("MINIMON_IMAGE_PATTERN", "{:{}}"),
        ("MINIMON_IMAGE_PATTERN", "{:>99999999999}"),
        ("MINIMON_MIN_INDEX", "-1"),
        ("MINIMON_MAX_INDEX", "many"),
        ("MINIMON_MAX_INDEX", "10001"),
        ("MINIMON_MIN_INDEX", "6"),
        ("MINIMON_PICTURE_CHOICE", "best"),
        ("MINIMON_RARITY_WEIGHTS", "1 2 3"),
        ("MINIMON_RARITY_WEIGHTS", "0 0 0 0 0 0 0 0"),
        ("MINIMON_RARITY_WEIGHTS", "1 1 1 1 1 1 1 -1"),
        ("MINIMON_RARITY_WEIGHTS", "1 1 1 1 1 1 1 nan"),
        ("MINIMON_RARITY_WEIGHTS", "1 1 1 1 1 1 1 inf"),
        ("MINIMON_NAME_BACKEND", "oracle"),
        ("MINIMON_NAME_LANGUAGE", "de"),
        ("OPENAI_BASE_URL", "192.168.0.37:11434"),
        ("OPENAI_BASE_URL", "ftp://192.168.0.37/v1"),
        ("OPENAI_BASE_URL", "http:///v1"),
        ("OPENAI_BASE_URL", "http://256.1.1.1/v1"),
        ("OPENAI_BASE_URL", "http://localhost:99999/v1"),
        ("OPENAI_BASE_URL", "http://localhost:0/v1"),
        ("OPENAI_BASE_URL", "http://[::1/v1"),
        ("OPENAI_BASE_URL", "http://localhost/v1?key=1"),
        ("OPENAI_BASE_URL", "http://localhost/v1#here"),
        ("OPENAI_BASE_URL", "http://localhost/v 1"),
        ("MINIMON_OPENAI_BASE_URL", "http://localhost\\v1"),
        ("OPENAI_MODEL", "two\nlines"),
        ("OPENAI_TIMEOUT", "0"),
        ("OPENAI_TIMEOUT", "nan"),
        ("MINIMON_OPENAI_TIMEOUT", "121"),
        ("MINIMON_GPU_MODEL_MEGABYTES", "-1"),
        ("MINIMON_GPU_MODEL_MEGABYTES", "half"),
        ("MINIMON_HOST_MODEL_MEGABYTES", "1.5"),
        ("MINIMON_HOST_MODEL_MEGABYTES", "100000001"),
        ("MINIMON_RATE_LIMIT_PER_MIN", "-1"),
        ("MINIMON_RATE_LIMIT_PER_MIN", "1e9"),
        ("MINIMON_TRUSTED_PROXIES", "*"),
        ("MINIMON_TRUSTED_PROXIES", "10.0.0.0/33"),
        ("MINIMON_CORS_ORIGINS", "game.example"),
        ("MINIMON_CORS_ORIGINS", "https://game.example/path"),
        ("LOG_LEVEL", "LOUD"),
        ("MINIMON_LOG_JSON", "perhaps"),
        ("LOG_SAMPLE_IMAGE_BYTES", "5000"),
    ],
)
def test_a_wrong_value_is_told_with_its_name_and_limits(variable: str, value: str) -> None:
    environ = {variable: value}
    if variable == "MINIMON_MIN_INDEX" and value == "6":
        variable = "MINIMON_MAX_INDEX"  # it is the pair that is wrong
    (line,) = mistakes(**environ)
    assert line.startswith(f"{variable} holds ")
    assert "it may hold" in line


def test_every_mistake_is_told_at_once() -> None:
    lines = mistakes(MINIMON_PORT="x", LOG_JSON="maybe", MINIMON_RARITY_WEIGHTS="1 x y z")
    assert [line.split()[0] for line in lines] == ["MINIMON_PORT", "MINIMON_RARITY_WEIGHTS", "LOG_JSON"]


def test_contradictions_are_told_together_with_the_other_mistakes() -> None:
    lines = mistakes(LOG_JSON="maybe", MINIMON_HTTP_PORT="22222", MINIMON_PLAY_TOKEN="game", MINIMON_MIN_INDEX="9")
    assert [line.split()[0] for line in lines] == [
        "LOG_JSON",
        "MINIMON_HTTP_PORT",
        "MINIMON_MAX_INDEX",
        "MINIMON_PLAY_TOKEN",
    ]


def test_what_is_wrong_by_itself_contradicts_nothing() -> None:
    environ = {
        "MINIMON_PORT": "x",
        "MINIMON_HTTP_PORT": "22222",
        "MINIMON_PLAY_TOKEN": "a",
        "MINIMON_BEARER_TOKEN": " ",
    }
    assert [line.split()[0] for line in mistakes(**environ)] == ["MINIMON_PORT", "MINIMON_BEARER_TOKEN"]


@pytest.mark.parametrize("token", [" padded", "padded ", "two\nlines", "tab\there", "broken\udcff"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(token: str) -> None:
    (line,) = mistakes(MINIMON_BEARER_TOKEN=token)
    assert line.startswith("MINIMON_BEARER_TOKEN holds a secret that is not shown")
    assert token.strip() not in line


@pytest.mark.parametrize("key", ["two words", "clé", "new\nline"])
def test_an_api_key_that_no_header_can_carry_is_refused_and_not_shown(key: str) -> None:
    (line,) = mistakes(OPENAI_API_KEY=key)
    assert line.startswith("OPENAI_API_KEY holds a secret that is not shown")
    assert ascii(key)[1:-1] not in line


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    (line,) = mistakes(OPENAI_BASE_URL="http://me:hush-hush@localhost/v1")
    assert line.startswith("OPENAI_BASE_URL holds a secret that is not shown")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("http://localhost:11434/v1/", "http://localhost:11434/v1"),
        ("https://[::1]:8080/openai/v1", "https://[::1]:8080/openai/v1"),
        ("https://names.example", "https://names.example"),
    ],
)
def test_addresses_of_name_servers(written: str, read: str) -> None:
    assert read_settings({"OPENAI_BASE_URL": written}, home=HOME, here=HERE).openai_base_url == read


def test_the_prefixed_name_wins_for_name_servers_too() -> None:
    both = {"OPENAI_MODEL": "bare", "MINIMON_OPENAI_MODEL": "prefixed"}
    assert read_settings(both, home=HOME, here=HERE).openai_model == "prefixed"


def test_the_api_key_that_the_documents_print_is_no_secret() -> None:
    plain = read_settings({"MINIMON_BEARER_TOKEN": "hush"}, home=HOME, here=HERE)
    assert plain.secrets == ("hush", "", "")
    kept = read_settings({"OPENAI_API_KEY": "s3sam"}, home=HOME, here=HERE)
    assert kept.secrets == ("", "", "", "s3sam")
    assert "s3sam" not in repr(kept)


@pytest.mark.parametrize(
    ("address", "shows"),
    [
        ("http://192.168.0.37:11434/v1", True),
        ("http://names.example/v1", True),
        ("https://names.example/v1", False),
        ("http://localhost:11434/v1", False),
        ("http://127.0.0.1:11434/v1", False),
        ("http://[::1]:11434/v1", False),
    ],
)
def test_a_key_in_the_clear_is_warned_about(address: str, shows: bool) -> None:
    environ = {"OPENAI_BASE_URL": address, "OPENAI_API_KEY": "s3sam"}
    assert not warnings_about(read_settings(environ, home=HOME, here=HERE))
    remote = environ | {"MINIMON_NAME_BACKEND": "remote"}
    assert bool(warnings_about(read_settings(remote, home=HOME, here=HERE))) is shows
    assert not warnings_about(read_settings(remote | {"OPENAI_API_KEY": ""}, home=HOME, here=HERE))


def test_a_play_token_alone_would_leave_the_rest_open() -> None:
    (line,) = mistakes(MINIMON_PLAY_TOKEN="game")
    assert "MINIMON_BEARER_TOKEN" in line


def test_the_two_tokens_must_differ() -> None:
    (line,) = mistakes(MINIMON_PLAY_TOKEN="same", MINIMON_BEARER_TOKEN="same")
    assert "any other" in line


def test_the_passphrase_of_the_signing_key_has_one_source_and_is_never_shown() -> None:
    settings = read_settings({"MINIMON_SIGNING_KEY_PASSPHRASE": "open sesame"}, home=HOME, here=HERE)
    assert "open sesame" in settings.secrets
    assert "sesame" not in repr(settings)
    assert settings.signing_key_passphrase_file is None
    (line,) = mistakes(MINIMON_SIGNING_KEY_PASSPHRASE="open sesame", MINIMON_SIGNING_KEY_PASSPHRASE_FILE="file")
    assert "set one of them" in line
    assert "sesame" not in line
    named = read_settings({"MINIMON_SIGNING_KEY_PASSPHRASE_FILE": "file"}, home=HOME, here=HERE)
    assert named.signing_key_passphrase_file == HERE / "file"


def test_a_file_of_keys_has_one_purpose() -> None:
    (line,) = mistakes(MINIMON_SIGNING_KEY_PATH="key.pem", MINIMON_CHECKPOINT_KEY_PATH="key.pem")
    assert (
        line == "MINIMON_CHECKPOINT_KEY_PATH holds the path that MINIMON_SIGNING_KEY_PATH holds; it may hold any other"
    )
    (line,) = mistakes(MINIMON_TLS_CERT_PATH="one.pem", MINIMON_TLS_KEY_PATH="one.pem")
    assert line.startswith("MINIMON_TLS_KEY_PATH holds")


def test_two_listeners_cannot_share_a_port() -> None:
    (line,) = mistakes(MINIMON_HTTP_PORT="22222")
    assert "MINIMON_HTTP_PORT" in line


def test_secrets_do_not_show_in_the_settings_representation() -> None:
    settings = read_settings({"MINIMON_BEARER_TOKEN": "hush-hush"}, home=HOME, here=HERE)
    assert "hush-hush" not in repr(settings)
    assert "hush-hush" not in str(settings)


def test_a_misspelt_variable_is_noticed() -> None:
    lines = unknown_variables({"MINIMON_RATE_LIMIT": "3", "PATH": "/bin", "MINIMON_PORT": "1"})
    assert lines == ["MINIMON_RATE_LIMIT is not a setting and has no effect; did you mean MINIMON_RATE_LIMIT_PER_MIN?"]


@pytest.mark.parametrize(
    ("host", "local", "everywhere"),
    [
        ("127.0.0.1", True, False),
        ("127.0.0.2", True, False),
        ("::1", True, False),
        ("localhost", True, False),
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("192.168.0.37", False, False),
        ("game.example", False, False),
    ],
)
def test_who_can_reach_a_host(host: str, local: bool, everywhere: bool) -> None:
    settings = read_settings({"MINIMON_HOST": host}, home=HOME, here=HERE)
    assert (settings.is_local, settings.is_everywhere) == (local, everywhere)


def test_every_variable_says_what_it_means_and_may_hold() -> None:
    for variable in variables():
        assert variable.name.startswith("MINIMON_")
        assert variable.meaning
        assert variable.may_hold
