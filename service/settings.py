"""The service's settings: environment variables `LINNET_*`, each with what it does to operation.

Nothing here is read at import; `read_settings` is called by `create_app` or by the command line. Must not import a web
framework or ONNX Runtime.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from linnet.choice import Choice
from linnet.cpu import usable_cpus
from linnet.manifest import MODEL_NAME_PATTERN
from linnet.preprocess import DEFAULT_MAX_PIXELS
from linnet.session import Placement, Provider
from service.start_errors import InvalidSetting, UnknownSetting

PREFIX = "LINNET_"
MIB = 1024 * 1024
_NAMES_PATTERN = r"^[a-z0-9][a-z0-9_.-]{0,63}( *, *[a-z0-9][a-z0-9_.-]{0,63})*$"


def _share_of_cpus(settings: dict[str, Any]) -> int:
    """Return the usable processors of one worker, at least one."""
    return max(1, usable_cpus() // int(settings.get("workers", 1)))


class Settings(BaseSettings):
    """How the service runs; arguments win over the environment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 lets other machines in")
    port: int = Field(default=8000, ge=0, le=65_535, description="TCP port; 0 takes a free one and logs it")
    workers: int = Field(
        default=1,
        ge=1,
        description="processes that serve the port; each has models, memory and pending images of its own",
    )
    models_dir: Path = Field(default=Path("models"), description="folder of bundles NAME/VERSION; all are loaded")
    model: str | None = Field(
        default=None,
        pattern=MODEL_NAME_PATTERN,
        description="model that answers requests naming none; unset: the first of LINNET_MODELS, or else by name",
    )
    models: str | None = Field(
        default=None,
        pattern=_NAMES_PATTERN,
        description="names, separated by commas, that readiness waits for; unset: the default model alone",
    )
    poll_s: float = Field(
        default=0,
        ge=0,
        description="seconds between looks for new, changed and removed bundles; 0 never looks: changes take a restart "
        "or a call",
    )
    provider: Provider = Field(
        default="auto", description="'cuda' stops the start where CUDA does not become active; 'auto' falls back to cpu"
    )
    cuda_device: int = Field(default=0, ge=0, description="number of the GPU, as CUDA counts those it is shown")
    cuda_memory_bytes: int | None = Field(
        default=None,
        ge=64 * MIB,
        description="bytes of GPU memory that a model's activations and weights may take, each model and worker by "
        "itself; unset: what there is",
    )
    variant: Choice = Field(
        default="auto",
        description="'auto' serves int8 on CPUs and fp16 on CUDA where they answer as measured, and fp32 otherwise; a "
        "bundle without a precision that is named is refused",
    )
    threads: int = Field(
        default=1,
        ge=1,
        description="threads inside one inference; a worker runs as many at once as its CPUs allow. 1 answers the most "
        "images; more answers a single image of a large network sooner",
    )
    decode_threads: int = Field(
        default_factory=_share_of_cpus,
        ge=1,
        description="images a worker decodes at once; above 8 million pixels they take turns, up to 16 bytes per pixel",
    )
    max_batch_size: int | None = Field(
        default=None,
        ge=1,
        description="images per inference; unset: 8 on CPUs, where more takes memory and brings nothing, 64 on GPUs",
    )
    max_images: int = Field(default=64, ge=1, description="images per request; more are refused with 413")
    max_body_bytes: int = Field(default=32 * MIB, ge=1, description="bytes per request body; more are refused with 413")
    max_pixels: int = Field(
        default=DEFAULT_MAX_PIXELS,
        ge=1,
        description="pixels per image, read from its header; more are refused with 413",
    )
    max_pending_images: int = Field(
        default=256, ge=1, description="images accepted and not yet answered; past it requests get 503 at once"
    )
    max_pending_bytes: int = Field(
        default=128 * MIB,
        ge=1,
        description="bytes of bodies held at once, so the memory that uploads can take; past it requests get 503; "
        "JSON bodies take up to three times their bytes while they are parsed",
    )
    timeout_ms: int = Field(
        default=30_000,
        ge=1,
        description="time from request to answer; past it the answer is 504; X-Timeout-Ms asks for less",
    )
    body_timeout_ms: int = Field(
        default=15_000,
        ge=1,
        description="time for a body to arrive; past it the answer is 408 and the connection closes",
    )
    header_timeout_ms: int = Field(
        default=10_000, ge=1, description="time for a request's head to arrive; past it the connection closes"
    )
    fetch_urls: bool = Field(
        default=False,
        description="let requests name images by URL: the service then makes requests itself, to public addresses only",
    )
    fetch_timeout_ms: int = Field(default=5_000, ge=1, description="time to fetch one image, redirects included")
    api_keys: SecretStr | None = Field(
        default=None,
        description="keys, separated by commas, of which a request must send one; unset (and no file): none is needed",
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="file with one such key per line, read again when it has changed; '#' begins a comment",
    )
    admin_keys: SecretStr | None = Field(
        default=None,
        description="keys, separated by commas, that may load and unload models; unset (and no file): nobody may",
    )
    admin_keys_file: Path | None = Field(
        default=None, description="file with one such key per line, read again when it has changed"
    )
    cors_origins: str | None = Field(
        default=None,
        description="origins, separated by commas, whose pages may call the service from browsers; unset: none, *: all",
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="'json' writes one object per line for machines, 'console' text for people"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="the least severe messages that are written"
    )
    access_log: bool = Field(
        default=True, description="one line per request, probes that succeed left out; costs some CPU under load"
    )

    otlp_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="OpenTelemetry collector (OTLP over HTTP, as http://host:4318/v1/traces); unset: no traces",
    )

    @property
    def expected_models(self) -> list[str]:
        """List the names of `models`."""
        return [name.strip() for name in (self.models or "").split(",") if name.strip()]

    @property
    def placement(self) -> Placement:
        """Return where networks run."""
        return Placement(self.provider, self.threads, self.cuda_device, self.cuda_memory_bytes)

    @property
    def lanes(self) -> int:
        """Return how many batches a worker runs at once on its CPUs."""
        return max(1, _share_of_cpus({"workers": self.workers}) // self.threads)


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the variables that give another process the settings that were chosen here."""
    chosen = {name: getattr(settings, name) for name in settings.model_fields_set}
    return {
        PREFIX + name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in chosen.items()
        if value is not None
    }


def read_settings(**arguments: Any) -> Settings:
    """Return the settings from `arguments` over the environment.

    Raises `UnknownSetting` for a `LINNET_*` variable that is none, `InvalidSetting` for a value out of its range.
    """
    known = variables()
    for variable in sorted(os.environ):
        if variable.upper().startswith(PREFIX) and variable.upper() not in known:
            raise UnknownSetting(variable, known)
    try:
        return Settings(**arguments)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise InvalidSetting(PREFIX + str(problem["loc"][0]).upper(), problem["msg"]) from error


def variables() -> list[str]:
    """List the environment variables that are read."""
    return [PREFIX + name.upper() for name in Settings.model_fields]
