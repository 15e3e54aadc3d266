"""The tokenizer of the made model: byte-level BPE over a short list of words, written without a library."""

from typing import Any

WORDS = tuple(
    """
    the a of in on at by for from with over under near after before and or but so then while until as
    like river stone bridge lantern harbour window garden mountain valley forest meadow island shore
    cloud storm thunder rain snow wind fire ember smoke ash iron copper silver golden amber crystal
    marble paper ink letter story song drum bell clock tower castle village market road path gate door
    key mirror candle bread honey salt apple cherry lemon ginger pepper olive barley wolf fox hare owl
    raven swan heron trout spider beetle horse captain sailor baker weaver painter doctor teacher farmer
    queen child stranger friend walks runs sleeps dreams waits listens remembers forgets carries builds
    breaks finds loses follows leads opens closes turns falls rises sings whispers answers asks learns
    grows burns shines fades quiet bright dark cold warm slow quick old young small wide deep narrow
    hollow heavy gentle wild patient seven nine always never often again still almost there where how
    what who one two three north south east west
    """.split()  # noqa: SIM905 - words in quotes would read worse
)
BOS, EOS, TURN, TURN_END = "<|begin|>", "<|end|>", "<|turn|>", "<|turn_end|>"
MAX_LENGTH = 2048
SPECIALS = (BOS, EOS, TURN, TURN_END)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|turn|>' + message['role'] + '\n' + message['content'] + '<|turn_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|turn|>assistant\n' }}{% endif %}"
)


def byte_alphabet() -> list[str]:
    """Give each byte 0..255 a printable character, as byte-level BPE does (GPT-2's `bytes_to_unicode`)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    stand_ins = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(stand_ins)) for byte in range(256)]


def build() -> tuple[dict[str, Any], dict[str, Any], list[int]]:
    """Build the tokenizer.

    Each word is one token together with the space before it, and is reached by merging from its left end, so
    that no merge of one word can cut into another.

    Returns:
        The contents of tokenizer.json and of tokenizer_config.json, and the ids of the words' tokens.
    """
    alphabet = byte_alphabet()
    vocabulary = {character: index for index, character in enumerate(alphabet)}
    merges: list[str] = []
    for word in WORDS:
        head = alphabet[ord(" ")]
        for letter in word:
            if head + letter not in vocabulary:
                vocabulary[head + letter] = len(vocabulary)
                merges.append(f"{head} {letter}")
            head += letter
    words = [vocabulary[alphabet[ord(" ")] + word] for word in WORDS]
    return _tokenizer_json(vocabulary, merges), _tokenizer_config(), words


def vocabulary_size(tokenizer: dict[str, Any]) -> int:
    """Count the ids that the contents of a tokenizer.json use."""
    return len(tokenizer["model"]["vocab"]) + len(tokenizer["added_tokens"])


def special_id(tokenizer: dict[str, Any], content: str) -> int:
    """Look up a special token's id in the contents of a tokenizer.json."""
    return next(int(token["id"]) for token in tokenizer["added_tokens"] if token["content"] == content)


def _tokenizer_json(vocabulary: dict[str, int], merges: list[str]) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": len(vocabulary) + index, "content": content, **flags}
            for index, content in enumerate(SPECIALS)
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": vocabulary,
            "merges": merges,
        },
    }


def _tokenizer_config() -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": EOS,
        "additional_special_tokens": [TURN, TURN_END],
        "clean_up_tokenization_spaces": False,
        "model_max_length": MAX_LENGTH,
        "chat_template": CHAT_TEMPLATE,
    }
