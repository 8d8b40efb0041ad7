"""A small builder of ONNX graphs: each method adds nodes and returns the name of their output."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

#: Version of ONNX's operators, and of its file format.
_OPSET, _IR_VERSION = 17, 8

Array = NDArray[np.generic]


class GraphBuilder:
    """A graph under construction. Tensors are (frames, channels, rows, columns) unless stated otherwise."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, default: Array, shape: Sequence[str | int]) -> str:
        """Add an input; without a value it is ``default``."""
        kind = helper.np_dtype_to_tensor_dtype(default.dtype)
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return self.constant(name, default)

    def output(self, name: str, value: str, shape: Sequence[str | int]) -> None:
        """Make a float32 value an output."""
        self._nodes.append(helper.make_node("Identity", [value], [name], f"output.{name}"))
        self._outputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))

    def constant(self, name: str, value: Array) -> str:
        """Add a constant, once for each name."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(
                np.ascontiguousarray(value).reshape(value.shape), name
            )
        return name

    def integers(self, *values: int) -> str:
        """Return int64 (k,)."""
        return self.constant("integers." + "_".join(map(str, values)), np.array(values, np.int64))

    def number(self, value: float) -> str:
        """Return a float32 scalar."""
        return self.constant(f"number.{value}", np.array(value, np.float32))

    def add(self, operator: str, *inputs: str, **attributes: int | float | list[int]) -> str:
        """Add a node with one output."""
        name = f"{operator}.{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name, None, None, None, **attributes))
        return name

    def convolution(
        self,
        x: str,
        name: str,
        weight: Array,
        bias: Array | None = None,
        *,
        stride: int = 1,
        dilation: int = 0,
    ) -> str:
        """Convolve with a border of zeros that keeps the size, or with ``dilation`` and without a border."""
        sides = list(weight.shape[2:])
        values = [self.constant(f"{name}.weight", weight)]
        if bias is not None:
            values.append(self.constant(f"{name}.bias", bias))
        return self.add(
            "Conv", x, *values, kernel_shape=sides, strides=[stride] * len(sides),
            dilations=[dilation or 1] * len(sides), pads=[0 if dilation else side // 2 for side in sides] * 2,
        )  # fmt: skip

    def frames(self, x: str, start: int, stop: int = 0) -> str:
        """Return frames [start, stop) of the first axis; a ``stop`` of 0 or less counts from the end."""
        end = stop or np.iinfo(np.int64).max
        return self.add("Slice", x, self.integers(start), self.integers(end), self.integers(0))

    def difference(self, one: str, other: str) -> str:
        """Return |one − other|."""
        return self.add("Abs", self.add("Sub", one, other))

    def log1p(self, x: str) -> str:
        """Return log(1 + x)."""
        return self.add("Log", self.add("Add", x, self.number(1)))

    def serialized(self, name: str, metadata: Mapping[str, str]) -> bytes:
        """Return the checked model, the same bytes each time."""
        graph = helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, list(self._constants.values())
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="captionacc"
        )
        helper.set_model_props(model, dict(sorted(metadata.items())))
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)
