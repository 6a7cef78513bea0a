"""Test the login at Amazon Bedrock, which its SDK finds by itself, by listing the models.

Requests are signed here (AWS Signature Version 4), so that the worker's proxies and certificates
apply. A login that is not in the variables is looked up by the SDK, if it is installed.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import anyio
import anyio.to_thread
import orjson

from agent_swarm_worker.clock import SystemClock, epoch_ms
from agent_swarm_worker.contract import LoginTest
from agent_swarm_worker.errors import MissingExtra, SwarmWorkerError, VendorFailed
from agent_swarm_worker.network import http_client
from agent_swarm_worker.providers import catalog
from agent_swarm_worker.providers.kit.native import items, mapping, text
from agent_swarm_worker.providers.pi.models import BEDROCK
from agent_swarm_worker.providers.pi.spec import PiOptions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

TEST_S = 5.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_MODELS = 200
_ENDPOINT = "AWS_ENDPOINT_URL_BEDROCK"


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """A login of Amazon's services."""

    access: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


class BedrockLogin:
    """The login of sessions whose model is at Amazon Bedrock."""

    def applies(self, env: Mapping[str, str]) -> bool:
        """True if the operator chose it, or a model that is there."""
        options = PiOptions.load(env)
        mode = options.bedrock_auth_mode
        model = options.model_override.strip().lower()
        return mode == "sdk" or (not mode and model.startswith(f"{BEDROCK}/"))

    async def test(self, env: Mapping[str, str]) -> LoginTest:
        """List the models that sessions can use there; a failure is part of the answer."""
        options, error = PiOptions.load(env), ""
        models: dict[str, str] = {}
        try:
            with anyio.fail_after(TEST_S):
                models = await _models(options)
        except TimeoutError:
            error = f"no answer within {TEST_S:g} s"
        except SwarmWorkerError as failure:
            error = str(failure)
        if not models and not error:
            error = "there is no model that this worker knows"
        details = {
            "region": options.aws_region,
            "probedAt": epoch_ms(SystemClock().now()),
            "ready": not error,
            "models": [{"id": key, "name": name} for key, name in models.items()][:MAX_MODELS],
            **({"error": error} if error else {}),
        }
        return LoginTest(error=error, details={"bedrock": details})


async def _models(options: PiOptions) -> dict[str, str]:
    """Return the names of the models that are offered and in the catalogue, by id."""
    keys = await _find_keys(options)
    found = await _list(
        options, keys, "/foundation-models", byInferenceType="ON_DEMAND", byOutputModality="TEXT"
    )
    profiles = await _list(options, keys, "/inference-profiles", maxResults="1000")
    offered = {
        text(row.get("modelId")): text(row.get("modelName"))
        for row in map(mapping, items(found.get("modelSummaries")))
        if text(mapping(row.get("modelLifecycle")).get("status")) in {"", "ACTIVE"}
    } | {
        text(row.get("inferenceProfileId")): text(row.get("inferenceProfileName"))
        for row in map(mapping, items(profiles.get("inferenceProfileSummaries")))
    }
    return {
        key: name or key
        for key, name in sorted(offered.items())
        if key and catalog.context_window(key.rpartition(".")[2])
    }


async def _find_keys(options: PiOptions) -> AwsKeys:
    if options.aws_access_key_id and options.aws_secret_access_key:
        return AwsKeys(
            options.aws_access_key_id,
            options.aws_secret_access_key,
            options.aws_session_token or "",
        )
    look_up = partial(_of_sdk, options.aws_profile)
    return await anyio.to_thread.run_sync(look_up, abandon_on_cancel=True)


def _of_sdk(profile: str | None) -> AwsKeys:
    """Return what the SDK finds: in files, from a role, or from the machine it runs on."""
    try:
        exceptions = import_module("botocore.exceptions")
        session = import_module("botocore.session")
    except ImportError as error:
        raise MissingExtra("a model at Amazon Bedrock", "bedrock") from error
    try:
        found = session.Session(profile=profile).get_credentials()
        frozen = found.get_frozen_credentials() if found is not None else None
    except exceptions.BotoCoreError as error:
        raise VendorFailed(f"the SDK found no login: {type(error).__name__}") from None
    if frozen is None:
        raise VendorFailed("the SDK found no login")
    return AwsKeys(frozen.access_key, frozen.secret_key, frozen.token or "")


async def _list(options: PiOptions, keys: AwsKeys, path: str, **query: str) -> Mapping[str, Any]:
    import httpx2  # noqa: PLC0415 - the predicate above is used at every start

    region = options.aws_region
    suffix = ".cn" if region.startswith("cn-") else ""
    base = options.bedrock_url.rstrip("/") or f"https://bedrock.{region}.amazonaws.com{suffix}"
    now = SystemClock().now()
    headers = signed_headers(base + path, query, keys, scope=f"{region}/bedrock", now=now)
    answer = bytearray()
    try:
        async with (
            http_client(base, name=_ENDPOINT, timeout=None) as client,
            client.stream("GET", base + path, params=query, headers=headers) as response,
        ):
            async for chunk in response.aiter_bytes():
                answer += chunk
                if len(answer) > MAX_ANSWER_BYTES:
                    raise VendorFailed("Amazon Bedrock answered too much")
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise VendorFailed(f"no answer from Amazon Bedrock: {type(error).__name__}") from None
    try:
        found = mapping(orjson.loads(answer))
    except orjson.JSONDecodeError:
        found = {}
    if response.status_code != 200:
        why = text(found.get("message")) or text(found.get("Message"))
        raise VendorFailed(f"Amazon Bedrock answered {response.status_code}: {why[:200]}")
    return found


def signed_headers(
    url: str, query: Mapping[str, str], keys: AwsKeys, *, scope: str, now: datetime
) -> dict[str, str]:
    """Return the headers that sign a GET request without a body; `scope` is ``region/service``."""
    parts = urlsplit(url)
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{scope}/aws4_request"
    nothing = hashlib.sha256(b"").hexdigest()
    headers = {"host": parts.netloc.rpartition("@")[2], "x-amz-date": stamp}
    if keys.token:
        headers["x-amz-security-token"] = keys.token
    names = ";".join(sorted(headers))
    encoded = "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}"
        for name, value in sorted(query.items())
    )
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join(["GET", parts.path or "/", encoded, lines, names, nothing])
    digest = hashlib.sha256(request.encode()).hexdigest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, digest])
    key = f"AWS4{keys.secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    credential = f"AWS4-HMAC-SHA256 Credential={keys.access}/{scope}"
    return {
        **{name: value for name, value in headers.items() if name != "host"},
        "Authorization": f"{credential}, SignedHeaders={names}, Signature={signature}",
    }
