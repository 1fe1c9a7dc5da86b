"""Weights of a checkpoint folder, read one tensor at a time."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


class Checkpoint(Mapping):
    """name -> tensor of a folder with model.safetensors or its sharded form.

    Nothing is kept: each access reads the tensor from its file. Raises ValueError if the folder
    has no safetensors.
    """

    def __init__(self, folder):
        folder = Path(folder)
        if (folder / INDEX).is_file():
            files = json.loads((folder / INDEX).read_text())["weight_map"]
            self._files = {name: folder / file for name, file in files.items()}
        elif (folder / SINGLE).is_file():
            with safe_open(folder / SINGLE, framework="pt") as file:
                self._files = dict.fromkeys(file.keys(), folder / SINGLE)
        else:
            raise ValueError(f"No {SINGLE} and no {INDEX} in {folder}.")

    def __getitem__(self, name):
        with safe_open(self._files[name], framework="pt") as file:
            return file.get_tensor(name)

    def __contains__(self, name):
        return name in self._files  # Mapping's own would read the tensor to find out

    def __iter__(self):
        return iter(self._files)

    def __len__(self):
        return len(self._files)
