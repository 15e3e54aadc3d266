"""What `import vllm_multinode` offers and the command line is built on: plan, check, deploy, operate."""
