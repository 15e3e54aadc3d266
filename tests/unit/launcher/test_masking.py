import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_multinode.launcher.masking import MASK, masked, redacted, secrets_in


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        pytest.param(["vllm", "serve", "/a b"], "vllm serve '/a b'", id="quoted-for-a-shell"),
        pytest.param(
            ["--api-key", "s3", "s4", "--port", "1"], "--api-key '***' '***' --port 1", id="all-values"
        ),
        pytest.param(["--api-key=s3", "m"], "'--api-key=***' m", id="equals"),
        pytest.param(["--api_key", "s3"], "--api_key '***'", id="underscores"),
        pytest.param(["--api-k", "s3"], "--api-k '***'", id="beginning"),
        pytest.param(["--api-keyy", "s3"], "--api-keyy '***'", id="mistyped"),
        pytest.param(["--apikye=s3"], "'--apikye=***'", id="letters-swapped"),
        pytest.param(["--hf_tokn", "s3"], "--hf_tokn '***'", id="letter-missing"),
        pytest.param(["--paswsord", "s3"], "--paswsord '***'", id="mistyped-password"),
        pytest.param(["--hf-token", "-tp", "2"], "--hf-token -tp 2", id="optional-value"),
        pytest.param(["--hf-token", "-s3cret"], "--hf-token '***'", id="value-with-a-dash"),
        pytest.param(
            ["--kv-transfer-config.api_token", "s3"], "--kv-transfer-config.api_token '***'", id="nested"
        ),
        pytest.param(["--x.authKey=s3"], "'--x.authKey=***'", id="nested-equals"),
        pytest.param(["--db-password", "s3", "--", "m"], "--db-password '***' -- m", id="until-the-dashes"),
        pytest.param(["--x", "token=s3"], "--x 'token=***'", id="named-value"),
        pytest.param(
            ["--x", '{"a": [{"secretKey": "s3", "b": 1}]}'],
            """--x '{"a": [{"secretKey": "***", "b": 1}]}'""",
            id="inside-json",
        ),
        pytest.param(["--x", '{"password": "s3"'], "--x '***'", id="inside-broken-json"),
        pytest.param(["--otlp", "http://me:s3@host/p"], "--otlp 'http://***@host/p'", id="inside-a-url"),
    ],
)
def test_secrets_are_hidden(argv: list[str], expected: str) -> None:
    assert masked(argv) == expected


@pytest.mark.parametrize(
    "argv",
    [
        pytest.param(["--max-num-batched-tokens", "512"], id="number-of-tokens"),
        pytest.param(["--long-prefill-token-threshold", "4"], id="threshold-of-tokens"),
        pytest.param(["--tokenizer", "x", "--tokenizer-mode=slow"], id="tokenizer"),
        pytest.param(["--ssl-keyfile", "/etc/tls.key"], id="path-of-a-key"),
        pytest.param(["--x", '{"pad_token_id":3,  "num_speculative_tokens":2}'], id="json-stays-as-written"),
        pytest.param(["--return-tokens-as-token-ids", "m"], id="flag"),
    ],
)
def test_what_is_no_secret_stays(argv: list[str]) -> None:
    assert shlex.split(masked(argv)) == argv


@pytest.mark.parametrize(
    ("argv", "secrets"),
    [
        pytest.param(["--api-key", "s3cret", "more", "--seed", "1"], ("s3cret", "more"), id="values"),
        pytest.param(["--api-keyy=s3=cret"], ("s3=cret",), id="attached"),
        pytest.param(["--x", '{"a": [{"secretKey": "s3cret", "b": "open"}]}'], ("s3cret",), id="json"),
        pytest.param(["--otlp=http://me:s3@host"], ("me:s3",), id="url"),
        pytest.param(["--api-key", "abc"], (), id="too-short-to-be-searched-for"),
    ],
)
def test_what_is_hidden_can_be_searched_for(argv: list[str], secrets: tuple[str, ...]) -> None:
    assert secrets_in(argv) == secrets
    said = f"error: unrecognized arguments: {' '.join(argv)}"
    assert not any(secret in redacted(said, secrets) for secret in secrets)


SECRETS = st.from_regex(r"[A-Za-z0-9_/+.]{8,24}", fullmatch=True).map(lambda text: "Zq" + text)
NAMES = st.sampled_from(
    [
        "--api-key",
        "--hf-token",
        "--hf_token",
        "--s3-secret-key",
        "--x-password",
        "--x.y_token",
        "--awsAccessKey",
    ]
)
HARMLESS = st.lists(
    st.sampled_from(["--port", "8080", "-tp", "4", "/mnt/models", "--enforce-eager"]), max_size=4
)
FORMS = st.sampled_from(["equals", "one", "two", "json", "named", "url"])


@given(before=HARMLESS, name=NAMES, secret=SECRETS, form=FORMS)
def test_no_secret_is_ever_shown_and_nothing_else_is_lost(
    before: list[str], name: str, secret: str, form: str
) -> None:
    given_as = {
        "equals": [f"{name}={secret}"],
        "one": [name, secret],
        "two": [name, secret, secret[::-1]],
        "json": ["--c", json.dumps({"deep": [{name.strip("-"): secret}]})],
        "named": ["--c", f"{name.strip('-')}={secret}"],
        "url": ["--c", f"https://{secret.replace('/', '.')}@host/"],
    }[form]
    shown = masked([*before, *given_as, "--last", "value"])
    assert secret not in shown
    assert secret[::-1] not in shown
    assert MASK in shown
    shown_items = shlex.split(shown)
    assert shown_items[: len(before)] == before
    assert shown_items[-2:] == ["--last", "value"]
    assert len(shown_items) == len(before) + len(given_as) + 2


@given(st.lists(st.text(max_size=12)))
def test_any_command_line_can_be_shown(argv: list[str]) -> None:
    assert len(shlex.split(masked(argv))) == len(argv)
