"""One completion from a run, with what proves where it came from."""

import json
import urllib.error
import urllib.request
from typing import Any, Final

from vllm_multinode.contract import env
from vllm_multinode.contract.errors import MultinodeError
from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.frozen import Frozen
from vllm_multinode.local.loopback import opener

_UNAUTHORIZED: Final = 401


class Answer(Frozen):
    """A completion.

    Attributes:
        text: what the model wrote.
        fingerprint: the engine's; ends in `-pp2-…` where two pipeline stages made it.
    """

    text: str
    fingerprint: str


def ask(url: str, prompt: str, *, tokens: int = 32, timeout: float = 120, key: str | None = None) -> Answer:
    """A greedy completion.

    Args:
        url: of the API, without a path.
        prompt: what the model goes on from.
        tokens: at most.
        timeout: seconds for the whole answer.
        key: that the API asks its clients for.

    Raises:
        MultinodeError: no answer, or a refusal, with what the server said.
    """
    try:
        model = _call(f"{url}/v1/models", None, timeout, key)["data"][0]["id"]
        body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0}
        answer = _call(f"{url}/v1/completions", body, timeout, key)
    except urllib.error.HTTPError as error:
        error.close()
        hint = f"Set {env.API_KEY} to the key." if error.code == _UNAUTHORIZED else "See its log."
        raise MultinodeError(ExitCode.LOCAL_RUN, f"no completion: {error}.", where=url, hint=hint) from error
    except (urllib.error.URLError, OSError, ValueError, LookupError) as error:
        raise MultinodeError(
            ExitCode.LOCAL_RUN, f"no completion: {error}.", where=url, hint="See `multinode local status`."
        ) from error
    return Answer(text=answer["choices"][0]["text"], fingerprint=str(answer.get("system_fingerprint")))


def _call(url: str, body: dict[str, Any] | None, timeout: float, key: str | None) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310
    with opener().open(request, timeout=timeout) as response:
        found: dict[str, Any] = json.load(response)
    return found
