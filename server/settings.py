"""All settings of a process in one frozen model, read once: flags over environment over file over defaults."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from server.errors import BadSetting


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)


class Listen(_Section):
    """Where the gateway listens."""

    host: str = "127.0.0.1"
    """Address to listen on; without any key only callers of this machine are served, whatever it is."""
    port: int = Field(default=8080, ge=0, le=65535)
    """TCP port; 0 lets the system choose."""


class Auth(_Section):
    """Who may call."""

    keys: dict[str, tuple[SecretStr, ...]] = {}
    """Tenant to its API keys, for example keys.acme = ["secret"]; several keys of one tenant allow a change of key."""
    origins: tuple[str, ...] = ()
    """Web origins whose pages may connect, such as "https://app.example.com"; "*" allows all. A page of the gateway's
    own host always may, and what is no browser sends no origin."""


class Limits(_Section):
    """What one caller may use up."""

    max_calls: int = Field(default=1000, ge=1)
    """Calls in progress, all tenants together; more are answered with 503 or close code 1013."""
    max_calls_per_tenant: int = Field(default=1000, ge=1)
    """Calls in progress of one tenant; more are answered with 429 or close code 1013."""
    by_load: bool = True
    """Whether calls are refused, too, when the devices are measured to have no room for more. If not, the numbers above
    alone decide."""
    retry_after_s: float = Field(default=5.0, gt=0)
    """The least that refused callers are told to wait, in seconds. Each is told a little more, at random, up to twice
    as long, so that those who were refused together do not come back together."""
    open_s: float = Field(default=10.0, gt=0)
    """Time a connection has to finish its HTTP request, in seconds."""
    start_s: float = Field(default=10.0, gt=0)
    """Time an open WebSocket has to start its call, in seconds."""
    idle_s: float = Field(default=300.0, gt=0)
    """Silence on the wire after which a call counts as gone, in seconds; calls on hold may send nothing for minutes."""
    resume_s: float = Field(default=60.0, ge=0)
    """Time a client that can resume has to come back after its connection broke, in seconds; then its call is ended."""
    call_idle_s: float = Field(default=3600.0, gt=0)
    """Seconds without audio after which a call is ended though its connection lives, or its gateway never said that it
    is over; messages that only keep a connection alive do not count."""
    closing_s: float = Field(default=30.0, gt=0)
    """Time the last finals of a call may take after its end, in seconds."""
    drain_s: float = Field(default=20.0, gt=0)
    """Time calls have to finish when the process is asked to stop, in seconds."""
    ping_s: float = Field(default=20.0, gt=0)
    """Seconds between WebSocket pings, and seconds a peer has to answer one."""
    message_bytes: int = Field(default=262_144, ge=1024)
    """Longest message taken, in bytes; a longer one closes the connection with 1009."""
    unsent_bytes: int = Field(default=1_048_576, ge=1024)
    """Text that may wait for a slow reader, in bytes; a slower one is closed with 1008."""
    speed: float = Field(default=1.25, ge=1)
    """How many times faster than real time audio may come, once the catch-up allowance is used."""
    catch_up_s: float = Field(default=60.0, gt=0)
    """Seconds of audio that may come at once, after a reconnect for example."""
    control_per_s: float = Field(default=20.0, gt=0)
    """Control messages per second; ten seconds' worth may come at once."""
    coalesce_ms: float = Field(default=40.0, ge=0)
    """Audio gathered before it is written to the log, in milliseconds."""
    ack_s: float = Field(default=0.5, gt=0)
    """Seconds between acknowledgements."""
    keep_ended_s: float = Field(default=900.0, ge=0)
    """How long the finals of an ended call stay readable, in seconds."""


class Twilio(_Section):
    """Twilio Media Streams, /bridges/twilio."""

    auth_token: SecretStr | None = None
    """Signs Twilio's requests; with it every request must carry a valid X-Twilio-Signature, without it an API key."""
    public_url: str | None = None
    """The stream's address exactly as TwiML names it, such as "wss://stt.example.com/bridges/twilio"."""
    tenant: str = "local"
    """Whose calls signed requests are."""


class Deepgram(_Section):
    """The Deepgram-compatible endpoint, /v1/listen."""

    idle_s: float = Field(default=10.0, gt=0)
    """Seconds without audio or KeepAlive after which a connection is closed with 1011 NET-0001."""


class Files(_Section):
    """Recordings in a POST: /v1/audio/transcriptions and /v1/listen."""

    max_bytes: int = Field(default=26_214_400, ge=1024)
    """Longest body, in bytes; a longer one is answered with 413."""
    max_s: float = Field(default=14_400.0, gt=0)
    """Longest recording, in seconds; a longer one is answered with 413."""
    at_once: int = Field(default=4, ge=1)
    """Recordings held and transcribed at a time; further requests wait."""


class Telnyx(_Section):
    """Telnyx media streaming, /bridges/telnyx."""

    l16_byte_order: Literal["auto", "little", "big"] = "auto"
    """Byte order of L16 streams, which Telnyx does not state; auto finds it out from the first sound."""


class Plivo(_Section):
    """Plivo audio streaming, /bridges/plivo."""

    auth_token: SecretStr | None = None
    """Signs Plivo's requests; with it every request must carry a valid X-Plivo-Signature-V3, without it an API key."""
    public_url: str | None = None
    """The stream's address exactly as the XML names it, such as "wss://stt.example.com/bridges/plivo"."""
    tenant: str = "local"
    """Whose calls signed requests are."""


class Vonage(_Section):
    """Vonage Voice WebSockets, /bridges/vonage."""

    signature_secret: SecretStr | None = None
    """Signs Vonage's JWTs (HS256); with it every request must carry a valid one as Bearer, without it an API key."""
    tenant: str = "local"
    """Whose calls signed requests are."""


class AudioHook(_Section):
    """Genesys Cloud AudioHook, /bridges/audiohook; its API key is one of auth.keys."""

    secrets: dict[str, SecretStr] = {}
    """API key to its client secret in base64; requests that show this key must then be signed."""


class AudioSocket(_Section):
    """Asterisk AudioSocket: plain TCP without any key, so listen where only your Asterisk can connect."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int | None = Field(default=None, ge=0, le=65535)
    """TCP port; none means not to listen, 0 lets the system choose."""
    peers: tuple[str, ...] = ()
    """Addresses or networks that may connect, such as "10.0.0.0/24"; none means all that can reach the port."""
    tenant: str = "local"
    """Whose calls these are."""


class Wyoming(_Section):
    """Wyoming, for Home Assistant: plain TCP without any key, so listen where only your machines can connect."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int | None = Field(default=None, ge=0, le=65535)
    """TCP port, usually 10300; none means not to listen, 0 lets the system choose."""
    peers: tuple[str, ...] = ()
    """Addresses or networks that may connect, such as "10.0.0.0/24"; none means all that can reach the port."""
    tenant: str = "local"
    """Whose calls these are."""


class WhisperLive(_Section):
    """WhisperLive's client, a WebSocket at /, which can show no key."""

    tenant: str | None = None
    """Whose calls those of clients without a valid key are; not set means that a key is needed, as anywhere else."""


class Webhook(BaseModel):
    """One receiver of webhooks."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    url: str
    """Where documents are posted to, https:// or http://."""
    secrets: tuple[SecretStr, ...] = ()
    """Sign them, as the Standard Webhooks specification says: "whsec_" and a key in base64; two while they change."""
    events: tuple[Literal["call_started", "final", "call_ended"], ...] = ("final", "call_ended")
    """Which documents; call_ended carries the whole transcript."""
    tenants: tuple[str, ...] = ()
    """Whose calls; none means everybody's."""
    timeout_s: float = Field(default=10.0, gt=0)
    """Time the receiver has to answer, in seconds."""
    at_once: int = Field(default=16, ge=1)
    """Requests under way at a time; those of one call go one after the other."""
    give_up_s: float = Field(default=3600.0, gt=0)
    """Seconds after which a document that was never taken is given up and counted."""


class Webhooks(_Section):
    """Receivers of finals and of whole transcripts, wherever the calls came from."""

    endpoints: dict[str, Webhook] = {}
    """Name to receiver, each a table of its own, such as [webhooks.endpoints.crm] with url = "https://…". A receiver
    has: url, secrets (whsec_…), events (call_started, final, call_ended), tenants, timeout_s, at_once, give_up_s."""


class Ingest(_Section):
    """Calls whose audio others write to a topic in the Kafka of kafka.bootstrap."""

    topic: str | None = None
    """Its name; not set means that none is read. Its partitions are shared among the gateways."""
    tenant: str = "local"
    """Whose calls these are."""
    idle_s: float = Field(default=60.0, gt=0)
    """Seconds without a record after which a call whose end never came is ended."""
    encoding: Literal["mulaw", "alaw", "linear16", "linear16be"] | None = None
    """What the values of records without any header are; not set means that such records are refused."""
    sample_rate: int = 8000
    """Their rate, in Hz."""
    channels: int = Field(default=1, ge=1, le=20)
    """Their interleaved channels."""


class Transcripts(_Section):
    """A public topic of transcripts in the Kafka of kafka.bootstrap, for whoever reads Kafka."""

    topic: str | None = None
    """Its name, such as "trunkline.transcripts"; not set means that none is written."""
    partials: bool = False
    """Whether text that may still change is written too."""


class Models(_Section):
    """Which models write, and where they come from."""

    final: str = "tiny.en"
    """Model of finals: a folder in CTranslate2's format, or a name that is looked for in TRUNKLINE_MODELS, among the
    installed model packages (tiny.en, base) and, if allowed, on the hub."""
    partial: str | None = None
    """Model of partials; none for that of the finals."""
    final_beam: int | None = Field(default=None, ge=1, le=10)
    """Hypotheses kept beside each other while a final is decoded; 1 is fastest, and what is used under load. If it is
    not set it is 5, and 1 with the engine torch, which is greedy."""
    allow_hub: bool = False
    """Whether a model that is nowhere here may be fetched from the hub."""


class Devices(_Section):
    """What decodes."""

    names: tuple[str, ...] = ("cpu",)
    """One process each: "cpu", or "cuda:0", "cuda:1" and so on; "cpu" twice makes two groups of threads."""
    engine: Literal["whisper", "torch", "scripted"] = "whisper"
    """What runs on them: whisper is Whisper on CTranslate2; torch is Whisper on PyTorch, greedy, which needs the extra
    gpu; scripted hears tones as words and needs no model, for tests."""
    streams: int = Field(default=0, ge=0)
    """Batches that run at a time on each device; 0 for one per core, or two per GPU."""
    front_end: Literal["host", "numpy", "torch", "dali"] = "host"
    """Who makes features: host, once for all windows, in the process that has the call; or the devices, of the call's
    own audio, window by window: with numpy on a processor, or with torch or dali (extra gpu) on the GPU as well."""
    compute_type: str = "auto"
    """Arithmetic as CTranslate2 names it; auto is int8 on a processor and float16 on a GPU."""
    max_batch: int = Field(default=16, ge=1)
    """Most windows of one batch."""
    options: dict[str, str | int | float | bool] = {}
    """What else the engine is told: torch {drafts = false}, for one, or scripted what batches cost it in seconds, as in
    {fixed_s = 0.05, each_s = 0.1, "small.each_s" = 0.03}; a name with a model in front is for that model alone."""
    profile: str | None = None
    """File of costs measured on such a device, written by make bench-device; without it a few batches are timed before
    a device is ready."""


class LadderRung(_Section):
    """One step of quality; what is not set is as in models.* and speech.*."""

    final: str | None = None
    """Model of finals."""
    partial: str | None = None
    """Model of partials."""
    cadence_s: float | None = Field(default=None, gt=0)
    """New audio between two partials of a channel, in seconds."""
    beam: int | None = Field(default=None, ge=1, le=10)
    """Hypotheses kept beside each other while a final is decoded."""
    lead_s: float | None = Field(default=None, ge=0, le=20)
    """Most earlier speech that a final is decoded behind, in seconds."""
    longest_s: float | None = Field(default=None, ge=5, le=28)
    """Length at which an utterance is cut, in seconds."""
    speculate: bool = True
    """Whether finals are begun at a hesitation, before the utterance is known to be over."""


class Ladder(_Section):
    """What gives under load, and in which order."""

    rungs: tuple[LadderRung, ...] = ()
    """Steps of quality from the best to the cheapest, such as [{final = "base"}, {final = "tiny", beam = 1}]; devices
    hold the models of all of them. None means that of models.* and speech.*, then partials that come more and more
    rarely and finals without beam, lead and guesses and, if partials have a model of their own, finals of it too."""
    promised: int = Field(default=0, ge=0)
    """The rung, from 0, that shards are provided for. Those above it are what spare capacity is used for."""


class Speech(_Section):
    """When utterances begin and end, and how often their text comes."""

    endpoint_ms: int = Field(default=320, ge=64)
    """Silence that ends an utterance, in milliseconds, unless a call asks for another."""
    unfinished_ms: int = Field(default=448, ge=64)
    """Silence that ends an utterance whose text does not end as a sentence does, in milliseconds; less than endpoint_ms
    counts as that."""
    hesitation_ms: int = Field(default=64, ge=32)
    """Silence after which its final is begun in advance, in milliseconds."""
    start_threshold: float = Field(default=0.5, gt=0, lt=1)
    """Probability of speech, 0..1, from which speech may begin."""
    stop_threshold: float = Field(default=0.35, gt=0, lt=1)
    """Probability of speech, 0..1, below which a frame is silent."""
    first_partial_s: float = Field(default=0.3, gt=0)
    """Speech before the first partial, in seconds."""
    cadence_s: float = Field(default=1.0, gt=0)
    """New audio between two partials of a channel, in seconds; stretched under load."""
    lead_s: float = Field(default=5.0, ge=0, le=20)
    """Most earlier speech of the speaker that a final is decoded behind, in seconds; it costs time and saves errors."""
    longest_s: float = Field(default=15.0, ge=5, le=28)
    """Length at which an utterance is cut at its quietest place, in seconds."""
    max_gap_s: float = Field(default=30.0, gt=0)
    """Longest gap on a call's media clock that is filled with silence, in seconds."""


class Kafka(_Section):
    """The log of a cluster, for the commands gateway and shard; the same for all of its processes."""

    bootstrap: str = ""
    """Brokers to ask first, such as "kafka-0:9092,kafka-1:9092"."""
    prefix: str = Field(default="trunkline", min_length=1)
    """Beginning of every topic's name."""
    slots: int = Field(default=256, ge=1)
    """Slots: what calls are placed in and shards own. Partitions of the topics; fixed once those are made."""
    create_topics: bool = True
    """Whether topics that are not there are created."""
    audio_keep_s: float = Field(default=900.0, ge=120)
    """How long audio is kept, in seconds: the longest a call may wait for a shard."""
    out_keep_s: float = Field(default=86_400.0, ge=900)
    """How long text is kept, in seconds."""
    linger_ms: int = Field(default=1, ge=0)
    """Most that a record waits for others to share a request with, in milliseconds."""
    request_timeout_s: float = Field(default=15.0, gt=0)
    """Seconds until a broker that does not answer is given up; more than an election of leaders takes."""
    trouble_s: float = Field(default=1.5, gt=0)
    """Seconds a record may wait for the brokers before the log counts as away: calls are told, new ones refused."""
    tls: bool = False
    """Whether brokers are spoken to over TLS."""
    ca_file: str | None = None
    """PEM file of the authority that signed the brokers' certificates; not set for the system's."""
    certificate_file: str | None = None
    """PEM file of our own certificate, where brokers want one."""
    key_file: str | None = None
    """PEM file of its key."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """How to log in (SASL); not set for no login."""
    username: str = ""
    """Who logs in."""
    password: SecretStr | None = None
    """With which password."""


class Shard(_Section):
    """A shard of a cluster, for the command shard."""

    name: str | None = None
    """Beginning of its name in the cluster; not set for the host's name."""
    host: str = "127.0.0.1"
    """Address that /healthz, /readyz and /metrics are served on; open to who asks, so keep it inside."""
    port: int = Field(default=8081, ge=0, le=65535)
    """TCP port of these; 0 lets the system choose."""
    drain_s: float = Field(default=20.0, ge=0)
    """Time that other shards have to take over when this one is asked to stop, in seconds."""
    start_s: float = Field(default=60.0, gt=0)
    """Time from asking for another shard until it serves, in seconds. The longer, the more stand ready, and the longer
    too many are kept."""


class Logs(_Section):
    """What is logged, to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is written."""
    format: Literal["auto", "json", "text"] = "auto"
    """One JSON object a line, or text; auto is text on a terminal."""


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="TRUNKLINE_",
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    listen: Listen = Listen()
    auth: Auth = Auth()
    limits: Limits = Limits()
    twilio: Twilio = Twilio()
    deepgram: Deepgram = Deepgram()
    files: Files = Files()
    webhooks: Webhooks = Webhooks()
    transcripts: Transcripts = Transcripts()
    ingest: Ingest = Ingest()
    models: Models = Models()
    devices: Devices = Devices()
    ladder: Ladder = Ladder()
    speech: Speech = Speech()
    telnyx: Telnyx = Telnyx()
    plivo: Plivo = Plivo()
    vonage: Vonage = Vonage()
    audiohook: AudioHook = AudioHook()
    audiosocket: AudioSocket = AudioSocket()
    wyoming: Wyoming = Wyoming()
    whisper_live: WhisperLive = WhisperLive()
    kafka: Kafka = Kafka()
    shard: Shard = Shard()
    logs: Logs = Logs()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is given and nothing else: ``load`` reads the environment."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def load(file: Path | None = None, flags: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Args:
        file: A TOML file, or None for none.
        flags: Dotted names to values as text, such as ``{"listen.port": "8081"}``; they win over all else.

    Returns:
        The settings of this process.

    Raises:
        BadSetting: If the file cannot be read, or a setting is unknown or out of range.
    """
    try:
        stored: dict[str, object] = {} if file is None else tomllib.loads(file.read_text(encoding="utf-8"))
        given = _merged(_merged(stored, _environment()), _nested(flags or {}))
        return Settings.model_validate(given)
    except OSError as problem:
        raise BadSetting(f"settings file {file} cannot be read: {problem.strerror}") from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise BadSetting(f"settings file {file} is not TOML: {problem}") from problem
    except (ValidationError, SettingsError) as problem:
        raise BadSetting(_explained(problem)) from problem


def default_file() -> str:
    """Return the settings file that says the defaults: every line a comment, ready to be changed."""
    lines = ["# Trunkline's settings, all at their defaults. Each can also be set in the environment:"]
    lines += ["# TRUNKLINE_LISTEN__PORT=8081, or by a flag: --set listen.port=8081."]
    for name, section in Settings.model_fields.items():
        values = section.get_default()
        if not isinstance(values, BaseModel):  # pragma: no cover - all settings lie in sections
            continue
        lines += ["", f"# {type(values).__doc__}", f"[{name}]"]
        for key, item in type(values).model_fields.items():
            lines += [f"# {line}" for line in (item.description or "").splitlines()]
            lines.append(f"# {key} = {_toml(getattr(values, key))}".rstrip())
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    match value:
        case None:
            return "# not set"
        case bool():
            return str(value).lower()
        case dict():
            return "{}"
        case tuple():
            return json.dumps(value)
        case str():
            return json.dumps(value)
        case _:
            return str(value)


def _environment() -> dict[str, object]:
    source = EnvSettingsSource(Settings)
    # A whole section is never one variable: TRUNKLINE_MODELS, for one, is the folder of the models.
    source.env_vars = {name: value for name, value in source.env_vars.items() if "__" in name}
    return source()


def _merged(under: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[name] = dict(below) | dict(value)  # pyright: ignore[reportUnknownArgumentType] - unvalidated
        else:
            merged[name] = value
    return merged


def _nested(flags: Mapping[str, str]) -> dict[str, object]:
    sections: dict[str, object] = {}
    for dotted, text in flags.items():
        *path, name = dotted.split(".")
        if not path:
            raise BadSetting(f"setting {dotted!r} must be named with its section, like listen.port")
        place = sections
        for step in path:
            within = place.setdefault(step, {})
            if not isinstance(within, dict):
                raise BadSetting(f"setting {dotted!r} lies within a setting that is a value of its own")
            place = cast("dict[str, object]", within)
        place[name] = _value(text)
    return sections


def _value(text: str) -> object:
    if not text.startswith(("[", "{", '"')):
        return text  # a key may be all digits; fields that are numbers read them from text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explained(problem: ValidationError | SettingsError) -> str:
    if isinstance(problem, SettingsError):
        return str(problem)
    found = problem.errors(include_input=False, include_url=False)  # an input may be a key
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found)
