"""Arithmetic on whole vector registers, for kernels compiled with numba.

A compiler chooses neither the widest registers nor a good blocking of a matrix product by itself. These classes
emit LLVM's vector instructions through Python's operators, so that a kernel reads like its formula. The width of
a register follows the processor, or ``NUMBA_CPU_FEATURES`` where that is set.
"""

from __future__ import annotations

import platform

from llvmlite import binding, ir
from numba.core import cgutils, config

WHOLE, PLACE, BYTES = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer()
FLOAT = ir.FloatType()
CONTRACT = ("contract",)  # a product and a sum may become one instruction


def _register_file() -> tuple[int, int]:
    """Return how many floats a vector register holds, and how many registers there are."""
    if config.CPU_FEATURES is None:
        known = {name for name, present in binding.get_host_cpu_features().items() if present}
    else:
        known = {name[1:] for name in config.CPU_FEATURES.split(",") if name.startswith("+")}
    if "avx512f" in known:
        return 16, 32
    if {"avx2", "fma"} <= known:
        return 8, 16
    return (4, 32) if platform.machine() in ("aarch64", "arm64") else (4, 16)


LANES, REGISTERS = _register_file()
VECTOR = ir.VectorType(FLOAT, LANES)


class Vector:
    """`LANES` floats in the kernel under construction."""

    def __init__(self, builder: ir.IRBuilder, value):
        self.builder, self.value = builder, value

    def __add__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fadd(self.value, other.value, flags=CONTRACT))

    def __sub__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fsub(self.value, other.value, flags=CONTRACT))

    def __mul__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fmul(self.value, other.value, flags=CONTRACT))

    def __rmul__(self, factor: float) -> Vector:
        return constant(self.builder, factor) * self

    def maximum(self, other: Vector) -> Vector:
        """Return the larger value of each lane; this vector's where one of them is NaN."""
        less = self.builder.fcmp_ordered("<", self.value, other.value)
        return Vector(self.builder, self.builder.select(less, other.value, self.value))

    def minimum(self, other: Vector) -> Vector:
        """Return the smaller value of each lane; this vector's where one of them is NaN."""
        less = self.builder.fcmp_ordered("<", other.value, self.value)
        return Vector(self.builder, self.builder.select(less, other.value, self.value))


def constant(builder: ir.IRBuilder, number: float) -> Vector:
    """Return `number` in every lane."""
    return Vector(builder, ir.Constant(VECTOR, [float(number)] * LANES))


class Memory:
    """Floats from an address on. Places are ints or values of the kernel; their sum counts floats."""

    def __init__(self, builder: ir.IRBuilder, address):
        self.builder, self.start = builder, builder.inttoptr(address, FLOAT.as_pointer())

    def load(self, *places) -> Vector:
        """Return the `LANES` floats from there on."""
        value = self.builder.load(self.builder.bitcast(self._at(places), VECTOR.as_pointer()))
        value.align = 4  # of bytes: a tile may begin anywhere
        return Vector(self.builder, value)

    def store(self, vector: Vector, *places) -> None:
        """Write `LANES` floats there."""
        target = self.builder.bitcast(self._at(places), VECTOR.as_pointer())
        self.builder.store(vector.value, target).align = 4

    def spread(self, *places) -> Vector:
        """Return the one float there in every lane."""
        one, unknown = self.builder.load(self._at(places)), ir.Constant(VECTOR, ir.Undefined)
        first = self.builder.insert_element(unknown, one, ir.Constant(PLACE, 0))
        lanes = ir.Constant(ir.VectorType(PLACE, LANES), [0] * LANES)
        return Vector(self.builder, self.builder.shuffle_vector(first, unknown, lanes))

    def prefetch(self, *places) -> None:
        """Prefetch the floats there into the cache."""
        kind = ir.FunctionType(ir.VoidType(), [BYTES, PLACE, PLACE, PLACE])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        read, near, data = (ir.Constant(PLACE, n) for n in (0, 3, 1))
        self.builder.call(function, [self.builder.bitcast(self._at(places), BYTES), read, near, data])

    def _at(self, places):
        where = self.start
        for place in places:
            where = self.builder.gep(where, [whole(place)])
        return where


class Loop:
    """A loop over 0 ... `count` - 1 that runs at least once and carries values from step to step.

    >>> with Loop(builder, count, [start]) as loop:   # doctest: +SKIP
    ...     loop.carried = [loop.carried[0] + a.load(loop.index)]
    ... loop.carried  # after the last step
    """

    def __init__(self, builder: ir.IRBuilder, count, begin: list):
        self.builder, self.count, self.begin = builder, count, begin

    def __enter__(self) -> Loop:
        before = self.builder.block
        self.block = self.builder.function.append_basic_block("loop")
        self.builder.branch(self.block)
        self.builder.position_at_end(self.block)
        self.index = self.builder.phi(WHOLE)
        self.index.add_incoming(whole(0), before)
        self.enter = [self.builder.phi(value.value.type) for value in self.begin]
        for phi, value in zip(self.enter, self.begin, strict=True):
            phi.add_incoming(value.value, before)
        self.carried = [Vector(self.builder, phi) for phi in self.enter]
        return self

    def __exit__(self, *_) -> None:
        following, last = self.builder.add(self.index, whole(1)), self.builder.block
        self.index.add_incoming(following, last)
        for phi, value in zip(self.enter, self.carried, strict=True):
            phi.add_incoming(value.value, last)
        after = self.builder.function.append_basic_block("after")
        self.builder.cbranch(self.builder.icmp_signed("<", following, whole(self.count)), self.block, after)
        self.builder.position_at_end(after)


def whole(value):
    """Return a whole number as a value of the kernel."""
    return ir.Constant(WHOLE, value) if isinstance(value, int) else value


def times(builder: ir.IRBuilder, count: int, step):
    """Return ``count * step`` as a value of the kernel."""
    return builder.mul(whole(step), whole(count))
