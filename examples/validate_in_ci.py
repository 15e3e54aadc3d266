"""Fail a pipeline if manifests or specs will be rejected, or never serve, on any platform in use."""

import sys

from vllm_multinode import MultinodeError, validate

PLATFORMS = ("kserve-0.19.0", "openshift-ai-2.25")


def main(paths: list[str]) -> int:
    """Check each file or folder; 1 if one will not serve."""
    failed = False
    for path in paths:
        try:
            findings = validate(path, PLATFORMS)
        except MultinodeError as error:
            print(error, file=sys.stderr)
            failed = True
            continue
        for finding in findings:
            if finding.blocks:
                print(f"{finding.file}:{finding.line}: {finding.rule}: {finding.message} {finding.hint}")
                failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
