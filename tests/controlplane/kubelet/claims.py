"""A folder for each PersistentVolumeClaim, as a storage class that provisions gives one."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from controlplane.kubelet.api import Body, PodApi


class Claims:
    """The folder behind each claim, by the claim's name."""

    def __init__(self, api: PodApi, given: Mapping[str, Path], folder: Path) -> None:
        """Prepare.

        Args:
            api: the API server.
            given: folders that are there already; these need no claim in the API.
            folder: where those of other claims are made.
        """
        self.folders = dict(given)
        self._api = api
        self._given = frozenset(given)
        self._folder = folder
        self._made: dict[str, Path] = {}

    def update(self, claims: Iterable[Body]) -> None:
        """Give every new claim a folder, and remove those of claims that are gone."""
        present = {claim["metadata"]["uid"]: claim for claim in claims}
        for uid, claim in present.items():
            name = claim["metadata"]["name"]
            if uid in self._made or name in self._given:
                continue
            path = self._folder / uid
            path.mkdir(parents=True)
            self._made[uid] = self.folders[name] = path
            spec = claim["spec"]
            capacity = (spec.get("resources") or {}).get("requests") or {}
            self._api.write_claim_status(
                claim, {"phase": "Bound", "accessModes": spec["accessModes"], "capacity": capacity}
            )
        for uid in self._made.keys() - present.keys():
            path = self._made.pop(uid)
            self.folders = {name: one for name, one in self.folders.items() if one != path}
            shutil.rmtree(path, ignore_errors=True)
