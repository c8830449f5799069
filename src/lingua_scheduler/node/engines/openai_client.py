"""The HTTP side of OpenAI-compatible services: one bounded request, and what each failure means for a job.

Options of every engine over them: model, key_env (the environment variable that holds the key; OPENAI_API_KEY),
concurrency (4 calls at a time), timeout_s.
"""

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final

from lingua_scheduler.node.engines.base import EngineCard, EngineError, Limits, Stage
from lingua_scheduler.node.engines.spec import EngineSpec, bad_spec
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language
from lingua_scheduler.runtime.traces import working_for

if TYPE_CHECKING:
    import aiohttp

MAX_ANSWER_BYTES: Final = 32 << 20
"""Five minutes of 48 kHz speech; more is cut off as an error."""
_CONNECT_S: Final = 5.0
_CHECK_S: Final = 10.0
_KEY_ENV: Final = "OPENAI_API_KEY"
_EXCERPT_CHARS: Final = 200

COMMON_OPTIONS: Final = ("model", "key_env", "concurrency", "timeout_s")


class OpenAiClient:
    """`spec.argument` is the base address up to and including `/v1`. The key comes from the environment variable that
    `key_env` names, never from the spec, which is shown to people.
    """

    def __init__(self, spec: EngineSpec) -> None:
        if not spec.argument.startswith(("http://", "https://")):
            raise bad_spec(f"{spec.name} wants an address: {spec.name}:http://127.0.0.1:8000/v1?model=…")
        self.base = spec.argument.rstrip("/")
        self._key = os.environ.get(spec.text("key_env", _KEY_ENV), "")
        self._http: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Connect. EngineError MODEL_NOT_AVAILABLE where nobody answers, or the key is refused."""
        import aiohttp

        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S)
        self._http = aiohttp.ClientSession(headers=headers, timeout=timeout)
        try:
            async with asyncio.timeout(_CHECK_S):
                await self._request("GET", "/models")
        except TimeoutError:
            raise self._unavailable(f"no answer within {_CHECK_S:g} s") from None
        except EngineError as error:
            if error.code is ErrorCode.MODEL_NOT_AVAILABLE and "HTTP 404" not in error.message:
                raise  # a service need not list its models, but it must be there and take the key

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def post_json(self, path: str, body: dict[str, Any]) -> bytes:
        return await self._request("POST", path, json=body)

    async def post_form(self, path: str, form: "aiohttp.FormData") -> bytes:
        return await self._request("POST", path, data=form)

    async def _request(self, method: str, path: str, **body: Any) -> bytes:
        import aiohttp

        assert self._http is not None, "used before it was opened"
        try:
            headers = {"traceparent": traceparent} if (traceparent := working_for.get()) else None
            async with self._http.request(method, self.base + path, headers=headers, **body) as answer:
                content = await answer.content.read(MAX_ANSWER_BYTES)
                while len(content) < MAX_ANSWER_BYTES and (more := await answer.content.read(MAX_ANSWER_BYTES)):
                    content += more
                if len(content) >= MAX_ANSWER_BYTES:
                    raise self._failed(f"an answer of over {MAX_ANSWER_BYTES >> 20} MB")
                if answer.status >= 400:
                    raise self._refused(answer.status, path, content)
                return content
        except aiohttp.ClientError as error:
            raise self._unavailable(f"{type(error).__name__}: {error}") from error

    def _refused(self, status: int, path: str, content: bytes) -> EngineError:
        excerpt = " ".join(content[:_EXCERPT_CHARS].decode("utf-8", "replace").split())
        message = f"{self.base}{path} answered HTTP {status}: {excerpt}"
        if status in {401, 403, 404}:
            return EngineError(ErrorCode.MODEL_NOT_AVAILABLE, message, retryable=True)
        if status in {429, 503}:
            return EngineError(ErrorCode.NODE_OVERLOADED, message, retryable=True)
        return EngineError(ErrorCode.PROCESSING_ERROR, message, retryable=status >= 500)

    def _unavailable(self, why: str) -> EngineError:
        return EngineError(ErrorCode.MODEL_NOT_AVAILABLE, f"{self.base} is not there: {why}", retryable=True)

    def _failed(self, why: str) -> EngineError:
        return EngineError(ErrorCode.PROCESSING_ERROR, f"{self.base}: {why}", retryable=True)


class OpenAiService:
    """What the engines of all stages share."""

    def __init__(self, spec: EngineSpec, *options: str) -> None:
        spec.only(*COMMON_OPTIONS, *options)
        self.spec = spec
        self.model = spec.text("model")
        self.client = OpenAiClient(spec)
        if not self.model:
            raise bad_spec(f"{spec.name} wants the name of a model: {spec}{'&' if spec.options else '?'}model=…")

    async def close(self) -> None:
        await self.client.close()

    def card(self, stage: Stage, timeout_s: float, **fields: Any) -> EngineCard:
        return EngineCard(
            name=f"{self.model} at {self.client.base}",
            stage=stage,
            limits=Limits(timeout_s=self.spec.number("timeout_s", timeout_s), timeout_per_audio_s=1.0),
            concurrency=max(1, int(self.spec.number("concurrency", 4))),
            **fields,
        )

    def languages(self) -> tuple[Language, ...]:
        found = self.spec.languages()
        if not found:
            raise bad_spec(f"{self.spec.name}: say which languages it serves: languages=en+zh")
        return found

    def not_understood(self, error: Exception) -> EngineError:
        message = f"{self.client.base} answered something else: {error}"
        return EngineError(ErrorCode.PROCESSING_ERROR, message, retryable=True)
