"""Every setting: its name, default, meaning and limits. Does not read the environment; `environment` does."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, SecretStr

from minimon_server.acceleration_settings import AccelerationSettings
from minimon_server.setting_types import (
    BaseUrl,
    Host,
    Key,
    Level,
    Megabytes,
    Networks,
    Origins,
    Pattern,
    Port,
    Switch,
    Token,
    Weights,
    is_address,
)
from minimon_server.setting_types import spec as _spec

_SWITCH = "1 or 0"
_MEGABYTES = "auto or a whole number from 0 to 100000000"
_SIDE = "a multiple of 8 from 64 to 2048"
_ADDRESSES = "addresses or networks such as 10.0.0.1 or 10.0.0.0/8, separated by blanks or commas; never *"


class Settings(AccelerationSettings):
    """All settings of one server, checked. Field `rate_limit_per_min` is the variable MINIMON_RATE_LIMIT_PER_MIN."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: Host = Field("127.0.0.1", **_spec("address that both listeners bind", "an IP address or a host name"))
    port: Port = Field(22222, **_spec("HTTPS port", "a port, 1 to 65535"))
    http_port: int = Field(8009, ge=0, le=65535, **_spec("HTTP port; 0 turns it off", "a port, 0 to 65535"))
    tls_cert_path: Path = Field(
        Path("certs/cert.pem"), **_spec("TLS certificate, made if both files are missing", "a path", path=True)
    )
    tls_key_path: Path = Field(Path("certs/key.pem"), **_spec("TLS private key", "a path", path=True))
    signing_key_path: Path = Field(
        Path("certs/app_signing_key.pem"),
        **_spec("private key that signs scores, made if it and its certificate are missing", "a path", path=True),
    )
    signing_cert_path: Path = Field(
        Path("certs/app_signing_cert.pem"),
        **_spec("certificate of the signing key; a key may do without", "a path", path=True),
    )
    signing_key_passphrase: Token = Field(
        SecretStr(""),
        **_spec("passphrase of the signing key, if it is encrypted", "UTF-8 text without blanks at its ends"),
    )
    signing_key_passphrase_file: Path | None = Field(
        None, **_spec("file that holds that passphrase instead", "a path", path=True)
    )
    checkpoint_key_path: Path = Field(
        Path("certs/app_checkpoint_key.pem"),
        **_spec("Ed25519 key that signs the ledger's checkpoints", "a path", path=True),
    )
    score_ledger_path: Path = Field(
        Path("data/certified_scores.jsonl"), **_spec("ledger of the certified scores", "a path", path=True)
    )
    shutdown_grace: int = Field(
        10, ge=1, le=3600, **_spec("seconds that running requests get at the end", "a whole number from 1 to 3600")
    )

    max_connections: int = Field(
        2048, ge=16, le=100_000, **_spec("connections at once, on each listener", "a whole number from 16 to 100000")
    )

    generation_backend: Literal["files", "sdxl"] = Field(
        "files", **_spec("who makes the creatures' pictures: a folder of files, or a model", "files or sdxl")
    )
    sdxl_turbo_model: str = Field(
        "stabilityai/sdxl-turbo",
        min_length=1,
        max_length=4096,
        **_spec("model that draws creatures", "a model's folder, file, id or hub id", bare=True),
    )
    sdxl_width: int = Field(
        512, ge=64, le=2048, multiple_of=8, **_spec("width of a creature, in pixels", _SIDE, bare=True)
    )
    sdxl_height: int = Field(512, ge=64, le=2048, multiple_of=8, **_spec("its height", _SIDE, bare=True))
    sdxl_steps: int = Field(
        1,
        ge=1,
        le=150,
        **_spec(
            "steps of a creature of rarity F; of other models than SDXL Turbo: their own unless set",
            "a whole number from 1 to 150",
            bare=True,
        ),
    )
    prompts_path: Path = Field(
        Path("minimon/prompts.toml"), **_spec("words that creatures are drawn from", "a path", path=True)
    )
    prompt_language: Literal["en", "fr"] = Field(
        "en", **_spec("language of those words; most models read English", "en or fr")
    )
    creature_queue_limit: int = Field(
        64, ge=1, le=10_000, **_spec("drawn creatures that may be waited for", "a whole number from 1 to 10000")
    )
    creature_batch: int = Field(
        8,
        ge=1,
        le=8,
        **_spec("drawn creatures side by side; 1: one after the other", "a whole number from 1 to 8"),
    )
    stock: int = Field(
        8,
        ge=0,
        le=1000,
        **_spec("drawn creatures kept ready a rarity, by weight; 0: none", "a whole number from 0 to 1000"),
    )
    stock_dir: Path = Field(Path("data/stock"), **_spec("folder of those creatures", "a path", path=True))
    images_dir: Path = Field(Path("./minimon"), **_spec("folder of the pictures", "a path", path=True))
    image_pattern: Pattern = Field(
        "image_{:02d}.png",
        **_spec("file name of a picture, {} being its index", "a name with exactly one {} or {:02d}"),
    )
    min_index: int = Field(
        0, ge=0, le=999_999, **_spec("index of the first picture", "a whole number from 0 to 999999")
    )
    max_index: int = Field(
        5,
        ge=0,
        le=999_999,
        **_spec("index of the last picture", "a whole number from 0 to 999999, at most 10000 pictures"),
    )
    picture_choice: Literal["rarity", "any"] = Field(
        "rarity",
        **_spec("rarity: pictures stand in order of splendour and follow it; any: drawn at random", "rarity or any"),
    )
    rarity_weights: Weights = Field(
        (30, 22, 17, 12, 9, 6, 3, 1),
        **_spec("how often F E D C B A S S+ come", "eight numbers from 0 to 1e9, not all 0"),
    )
    models_dir: Path = Field(
        Path("models"),
        **_spec("folder of the models that draw prompts: folders, and files in checkpoints/", "a path", path=True),
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", **_spec("what draws prompts; auto: a CUDA device if there is one", "auto, cpu or cuda")
    )
    gpu_model_megabytes: Megabytes = Field(
        "auto",
        **_spec("models kept on a GPU, in MiB, besides the one that draws; auto: what is free less 4096", _MEGABYTES),
    )
    host_model_megabytes: Megabytes = Field(
        "auto",
        **_spec("models kept in main memory, in MiB; 0: the one that draws; auto: half of what is free", _MEGABYTES),
    )
    hashes_path: Path = Field(
        Path("data/hashes.json"),
        **_spec("file of the models' and LoRAs' SHA-256, for the next start", "a path", path=True),
    )
    jobs_path: Path = Field(
        Path("data/jobs.sqlite"), **_spec("journal of the jobs, which one server may have open", "a path", path=True)
    )
    output_dir: Path = Field(Path("data/outputs"), **_spec("folder of the drawn pictures", "a path", path=True))
    output_megabytes: int = Field(
        4096,
        ge=16,
        le=100_000_000,
        **_spec("drawn pictures kept, in MiB; the oldest go first", "a whole number from 16 to 100000000"),
    )
    queue_limit: int = Field(
        10_000, ge=1, le=1_000_000, **_spec("jobs that may wait", "a whole number from 1 to 1000000")
    )
    queue_limit_per_client: int = Field(
        1000, ge=1, le=1_000_000, **_spec("jobs of one client that may wait", "a whole number from 1 to 1000000")
    )
    history_limit: int = Field(
        1000, ge=1, le=1_000_000, **_spec("ended jobs that are kept", "a whole number from 1 to 1000000")
    )
    history_days: int = Field(
        7, ge=1, le=36_500, **_spec("days for which ended jobs are kept", "a whole number from 1 to 36500")
    )
    load_timeout: int = Field(
        1800,
        ge=1,
        le=86_400,
        **_spec("seconds without progress after which loading counts as hung", "a whole number from 1 to 86400"),
    )
    step_timeout: int = Field(
        300,
        ge=1,
        le=86_400,
        **_spec("seconds without progress after which drawing counts as hung", "a whole number from 1 to 86400"),
    )
    idle_minutes: int = Field(
        15,
        ge=0,
        le=10_080,
        **_spec(
            "minutes without a job after which a model's memory is given back; 0: never",
            "a whole number from 0 to 10080",
        ),
    )
    name_backend: Literal["local", "remote"] = Field(
        "local",
        **_spec("who makes the names; remote: a language model, for creatures without a seed", "local or remote"),
    )
    name_language: Literal["fr", "en"] = Field("fr", **_spec("language of remote names", "fr or en"))
    openai_base_url: BaseUrl = Field(
        "http://192.168.0.37:11434/v1",
        **_spec("OpenAI-compatible server of remote names", "an address such as http://127.0.0.1:11434/v1", bare=True),
    )
    openai_model: str = Field(
        "llama3.2:1b",
        pattern=r"^[^\x00-\x1f\x7f]+$",
        max_length=256,
        **_spec("model that is asked for remote names", "the name of a model, at most 256 characters", bare=True),
    )
    openai_api_key: Key = Field(
        SecretStr("dummy"), **_spec("key of that server", "visible ASCII characters", bare=True)
    )
    openai_timeout: float = Field(
        5.0,
        ge=0.1,
        le=120,
        **_spec("seconds that a remote name may take in all", "a number from 0.1 to 120", bare=True),
    )

    bearer_token: Token = Field(SecretStr(""), **_spec("token that opens everything; none: all is open", "UTF-8 text"))
    play_token: Token = Field(
        SecretStr(""),
        **_spec(
            "token that a game may ship: bare GET /v1/generate and /v1/creatures/{id} only",
            "UTF-8 text other than the bearer token",
        ),
    )
    rate_limit_per_min: int = Field(
        60,
        ge=0,
        le=100_000,
        **_spec("creations a minute and address, reads ten times that; 0: no limit", "a whole number from 0 to 100000"),
    )
    trusted_proxies: Networks = Field((), **_spec("proxies whose X-Forwarded-For is believed", _ADDRESSES))
    cors_origins: Origins = Field(
        (), **_spec("origins of browser games", "origins such as https://game.example, or *; separated by blanks")
    )

    log_level: Level = Field("INFO", **_spec("least level that is logged", "DEBUG, INFO, WARN or ERROR", bare=True))
    log_json: Switch = Field(True, **_spec("1: a JSON object a line; 0: text", _SWITCH, bare=True))
    log_request_body: Switch = Field(False, **_spec("log the first 4 KiB of request bodies", _SWITCH, bare=True))
    log_remote_content: Switch = Field(False, **_spec("log what a name server answered", _SWITCH, bare=True))
    log_image_b64: Switch = Field(False, **_spec("log whole pictures in base64", _SWITCH, bare=True))
    log_sample_image_bytes: int = Field(
        0,
        ge=0,
        le=4096,
        **_spec("log this many first bytes of pictures, in hex", "a whole number from 0 to 4096", bare=True),
    )

    @property
    def has_api_key(self) -> bool:
        """Whether the API key is a secret, other than the one that the documents print."""
        return bool(self.openai_api_key != type(self).model_fields["openai_api_key"].default)

    @property
    def shows_api_key(self) -> bool:
        """Whether the API key leaves this machine in the clear."""
        parts = urlsplit(self.openai_base_url)
        host = parts.hostname or ""
        stays = host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)
        return self.name_backend == "remote" and self.has_api_key and parts.scheme == "http" and not stays

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        kept = [self.bearer_token, self.play_token, self.signing_key_passphrase]
        kept += [self.openai_api_key] if self.has_api_key else []
        return tuple(secret.get_secret_value() for secret in kept)

    @property
    def has_token(self) -> bool:
        """Whether a bearer token closes what is not open to all."""
        return bool(self.bearer_token.get_secret_value())

    @property
    def is_local(self) -> bool:
        """Whether both listeners can be reached from this machine alone."""
        return self.host == "localhost" or (is_address(self.host) and ipaddress.ip_address(self.host).is_loopback)

    @property
    def is_everywhere(self) -> bool:
        """Whether both listeners stand on every address of this machine."""
        return is_address(self.host) and ipaddress.ip_address(self.host).is_unspecified
