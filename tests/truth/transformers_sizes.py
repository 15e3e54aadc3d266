"""Asks transformers how large a model is: its classes are made on torch's meta device, without weights.

    python tests/truth/transformers_sizes.py tests/data/sizing/configs.json NAME... > sizes.json

Counts numbers, not bytes: what the classes hold before any quantisation. A tied head counts once.
"""

import json
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TRANSFORMERS_VERBOSITY": "error"}


def elements(config: dict[str, Any]) -> dict[str, Any]:
    """Numbers in all parameters, and in those of every layer; or why transformers cannot tell."""
    import torch
    import transformers

    plain = {key: value for key, value in config.items() if key != "quantization_config"}
    try:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_text(json.dumps(plain))
            read = transformers.AutoConfig.from_pretrained(folder)
        auto = (
            transformers.AutoModelForImageTextToText
            if config["architectures"][0].endswith("ForConditionalGeneration")
            else transformers.AutoModelForCausalLM
        )
        with torch.device("meta"):
            model = auto.from_config(read)
        model.tie_weights()
    except Exception as error:  # noqa: BLE001 (whatever it raises is its answer)
        return {"refused": f"{type(error).__name__}: {error}"[:160]}
    return {"elements": sum(one.numel() for one in model.parameters())}


def main() -> None:
    """Print the counts of the named configurations as JSON, one model a line."""
    warnings.simplefilter("ignore")
    configs = json.loads(Path(sys.argv[1]).read_text())
    for name in sys.argv[2:] or list(configs):
        sys.stdout.write(f"{json.dumps({name: elements(configs[name])})}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
