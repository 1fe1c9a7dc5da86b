"""Weights: read from a checkpoint folder one tensor at a time, and brought to the device."""

import ctypes
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
import ttnn
from safetensors import safe_open

from .mesh import Mesh, chip_by_chip, padded
from .weight_cache import WeightCache

LIBC = ctypes.CDLL(None)  # glibc: ttnn has wheels for no other
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


class Checkpoint(Mapping[str, torch.Tensor]):
    """name -> tensor of a folder with model.safetensors or its sharded form.

    Nothing is kept: each access reads the tensor from its file. Raises ValueError if the folder
    has no safetensors.
    """

    def __init__(self, folder: str | os.PathLike):
        folder = Path(folder)
        if (folder / INDEX).is_file():
            files = json.loads((folder / INDEX).read_text())["weight_map"]
            self._files = {name: folder / file for name, file in files.items()}
        elif (folder / SINGLE).is_file():
            with safe_open(folder / SINGLE, framework="pt") as file:
                self._files = dict.fromkeys(file.keys(), folder / SINGLE)
        else:
            raise ValueError(f"No {SINGLE} and no {INDEX} in {folder}.")

    def __getitem__(self, name: str) -> torch.Tensor:
        with safe_open(self._files[name], framework="pt") as file:
            return file.get_tensor(name)

    def __contains__(self, name: object) -> bool:
        return name in self._files  # Mapping's own would read the tensor to find out

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


class DeviceWeights:
    """Host tensors on their way into the device's DRAM.

    Raises ValueError for a mesh of chips that is no line.

    Args:
        tensors: Hugging Face's parameter names -> host tensors; asked for each name once.
        device: the TTNN device.
        cache: a folder for the converted tensors, or None: see `weight_cache`.
    """

    def __init__(
        self,
        tensors: Mapping[str, torch.Tensor],
        device: ttnn.MeshDevice,
        cache: str | os.PathLike | None = None,
    ):
        self.tensors = tensors
        self.device = device
        self.mesh = Mesh(device)
        self.cache = None if cache is None else WeightCache(cache)

    def __getitem__(self, name: str) -> torch.Tensor:
        """The tensor in bfloat16, on the host. Raises ValueError if there is none."""
        try:
            return self.tensors[name].detach().to(torch.bfloat16)
        except KeyError as error:
            raise ValueError(f"The checkpoint has no tensor {error}.") from error

    def ends(self, tied: bool) -> tuple[str, str]:
        """The names of the tensors of the embedding and of lm_head: one name where they share it.

        As transformers does (PreTrainedModel.tie_weights): a checkpoint that says they are tied and
        has both has both used, and one that has either has it used twice.
        """
        there = [name for name in (EMBEDDING, HEAD) if name in self.tensors]
        return (there[0], there[0]) if tied and len(there) == 1 else (EMBEDDING, HEAD)

    def columns(self, weight: torch.Tensor, each: int, dtype: ttnn.DataType) -> ttnn.Tensor:
        """A Linear's weight of which each chip has so many outputs: zeros behind the last.

        torch.nn.Linear keeps [out, in]; ttnn.linear multiplies by [in, out].
        """
        weight = padded(weight, 0, each * self.mesh.chips)
        return self.place(weight, dtype, transposed=True, split=1)

    def joined(
        self, weights: Sequence[torch.Tensor], each: list[int], dtype: ttnn.DataType
    ) -> ttnn.Tensor:
        """Several weights as one, of which each chip has `each` outputs of every one."""
        return self.columns(chip_by_chip(list(weights), each, self.mesh.chips), sum(each), dtype)

    def rows(self, weight: torch.Tensor, each: int, dtype: ttnn.DataType) -> ttnn.Tensor:
        """A Linear's weight of which each chip has so many inputs: its product is part of a sum."""
        weight = padded(weight, 1, each * self.mesh.chips)
        return self.place(weight, dtype, transposed=True, split=0)

    def place(
        self,
        tensor: torch.Tensor,
        dtype: ttnn.DataType = ttnn.bfloat16,
        layout: ttnn.Layout = ttnn.TILE_LAYOUT,
        transposed: bool = False,
        split: int | None = None,
    ) -> ttnn.Tensor:
        """bfloat16 host tensor -> device tensor of that dtype, whole on each chip.

        Args:
            split: the dimension of the result of which each chip has a part instead.
        """
        made = dtype, layout, transposed, self.mesh.shape, split
        kept = self.cache and self.cache.name(tensor, *made)
        device_tensor = ttnn.as_tensor(
            tensor,
            dtype=dtype,
            layout=layout,
            device=self.device,
            memory_config=ttnn.DRAM_MEMORY_CONFIG,
            cache_file_name=kept,
            cache_dump_mode=ttnn.DumpTensorMode.LOCAL,  # a file appears whole or not at all
            preprocess=(lambda w: w.T) if transposed else None,
            mesh_mapper=None if split is None else self.mesh.split(split),
        )
        if self.cache and kept:
            self.cache.seal(kept)
        # malloc neither returns nor reuses what as_tensor has freed: without this, memory grows by
        # 19 MB with every layer of Phi-3-mini.
        LIBC.malloc_trim(0)
        return device_tensor
