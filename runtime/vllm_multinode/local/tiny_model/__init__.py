"""A small random Llama with a tokenizer."""
