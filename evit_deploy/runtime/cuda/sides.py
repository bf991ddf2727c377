# SPDX-License-Identifier: Apache-2.0
"""Both sides that a run may come from: arrays of the host, or device arrays of other libraries."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.runtime.cuda.api import Cuda
from evit_deploy.runtime.cuda.binding import Binding
from evit_deploy.runtime.cuda.interop import DeviceArray, DeviceInput
from evit_deploy.runtime.cuda.memory import DeviceMemory, HostTensor, host_tensor, sized
from evit_deploy.runtime.cuda.plan import Plan

SIGHTINGS = 3
"""A device array that comes for the third time is worth a CUDA graph of its own."""

GRAPHS = 8
"""CUDA graphs kept for device arrays; the one that was used longest ago makes room."""

_ANY_SEED = 0


class HostSide:
    """Buffers for one batch size and the binding over them."""

    def __init__(self, plan: Plan, device: Cuda, batch: int, stream: int) -> None:
        self.inputs = tuple(host_tensor(device, tensor, batch) for tensor in plan.inputs)
        self.outputs = tuple(host_tensor(device, tensor, batch) for tensor in plan.outputs)
        self.results: dict[str, npt.NDArray[Any]] = {tensor.name: tensor.array for tensor in self.outputs}
        self._device, self._stream = device, stream
        self.binding = Binding(plan, device, batch, {t.name: t.pointer for t in self.inputs + self.outputs}, stream)
        kinds = device.cudart.cudaMemcpyKind
        self._upload, self._download = kinds.cudaMemcpyHostToDevice, kinds.cudaMemcpyDeviceToHost
        self._copies = not device.integrated

    def prepare(self) -> None:
        """Run once on any values, and record a CUDA graph."""
        self._renew(_ANY_SEED)
        self.binding.record(lambda: self._renew(_ANY_SEED + 1))

    def write(self, inputs: Mapping[str, npt.NDArray[Any]]) -> None:
        """Put values into the input buffers, unless the caller already wrote them there, and on their way."""
        for tensor in self.inputs:
            given, array = inputs[tensor.name], tensor.array
            if given is not array and given.base is not array.base:
                np.copyto(array, given)
            if self._copies:
                self._copy_in(tensor)

    def read(self) -> None:
        """Send the outputs on their way to the host."""
        if self._copies:
            cudart = self._device.cudart
            for tensor in self.outputs:
                copied = cudart.cudaMemcpyAsync(
                    tensor.address, tensor.pointer, tensor.nbytes, self._download, self._stream
                )
                if copied[0]:
                    self._device.fail(copied[0], "copying an output")

    def _copy_in(self, tensor: HostTensor) -> None:
        cudart = self._device.cudart
        copied = cudart.cudaMemcpyAsync(tensor.pointer, tensor.address, tensor.nbytes, self._upload, self._stream)
        if copied[0]:
            self._device.fail(copied[0], "copying an input")

    def _renew(self, seed: int) -> None:
        """Any values, so that a recorded graph can be compared with a plain run."""
        draw = np.random.default_rng(seed)
        for tensor in self.inputs:
            if tensor.array.dtype.kind == "f":
                tensor.array[...] = draw.standard_normal(tensor.array.shape, np.float32)
            else:
                np.copyto(tensor.array, draw.integers(0, 128, tensor.array.shape, np.int8), casting="unsafe")
            if self._copies:
                self._copy_in(tensor)


class DeviceSide:
    """Outputs on the GPU for one batch size, and bindings over the inputs that come."""

    def __init__(
        self,
        plan: Plan,
        device: Cuda,
        batch: int,
        stream: int,
        lead: Callable[[int], None],
        alone: Callable[[], None],
    ) -> None:
        self._plan, self._device, self._batch, self._stream = plan, device, batch, stream
        self._alone = alone
        self.results: dict[str, DeviceArray] = {}
        for tensor in plan.outputs:
            shape, nbytes = sized(tensor, batch)
            memory = DeviceMemory(device, nbytes, f"'{tensor.name}'")
            self.results[tensor.name] = DeviceArray(device, memory, shape, tensor.dtype, lead)
        self._outputs = {name: array.pointer for name, array in self.results.items()}
        self._plain: Binding | None = None
        self._recorded: OrderedDict[tuple[int, ...], Binding] = OrderedDict()
        self._seen: Counter[tuple[int, ...]] = Counter()

    def binding(self, inputs: Mapping[str, DeviceInput]) -> Binding:
        """A binding over these inputs: with a CUDA graph if they came before."""
        key = tuple(given.pointer for given in inputs.values())
        found = self._recorded.get(key)
        if found is not None:
            self._recorded.move_to_end(key)
            return found
        addresses = {name: given.pointer for name, given in inputs.items()} | self._outputs
        self._seen[key] += 1
        if self._seen[key] >= SIGHTINGS:
            del self._seen[key]
            return self._record(key, addresses)
        if len(self._seen) > SIGHTINGS * GRAPHS:
            self._seen.clear()  # arrays that are new every time need not be remembered
        if self._plain is None:
            self._plain = self._bind(addresses)
        self._plain.move(addresses)
        return self._plain

    def close(self) -> None:
        """Free the bindings; the outputs live as long as somebody holds them."""
        for binding in (*self._recorded.values(), *([self._plain] if self._plain else [])):
            binding.close()
        self._recorded.clear()
        self._plain = None

    def _bind(self, addresses: Mapping[str, int]) -> Binding:
        return Binding(self._plan, self._device, self._batch, addresses, self._stream)

    def _record(self, key: tuple[int, ...], addresses: Mapping[str, int]) -> Binding:
        while len(self._recorded) >= GRAPHS:
            self._recorded.popitem(last=False)[1].close()
        self._alone()
        binding = self._bind(addresses)
        with binding.closed_on_error():
            binding.record()
        self._recorded[key] = binding
        return binding
