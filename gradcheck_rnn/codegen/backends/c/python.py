"""A Python module that compiles a C kernel and calls it with NumPy arrays."""

from __future__ import annotations

from functools import partial

from ...schedule.build import Schedule
from .. import template
from ..cfamily.python_interface import PythonInterface
from ..substeps import function_of_substeps, functions_of_steps
from ..wrapping import wrap
from .header import FLAGS, Interface

__all__ = ["print_python"]

_CHECK = partial(
    template.check,
    "np",
    "Contiguous arrays of one dtype; raises ValueError on what does not fit.",
    '''\
    dtype = np.result_type(*({a.dtype for a in arrays.values() if a.dtype.kind in "fc"} or {float}))
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"arrays must be float32 or float64, not {dtype}")
    return {n: np.asarray(a, dtype, order="C") for n, a in arrays.items()}, dtype


def _check_cotangents(
    given: Mapping[str, Any], shapes: dict[str, tuple[int, ...]], dtype: np.dtype[Any]
) -> dict[str, Array | None]:
    """Cotangents by output, None for zeros; raises ValueError on what does not fit."""
    for name, value in given.items():
        if name not in shapes:
            raise ValueError(f"there is no output {name!r}; there are {', '.join(shapes)}")
        if value is not None and np.shape(value) != shapes[name]:
            found, wanted = np.shape(value), shapes[name]
            raise ValueError(f"the cotangent of {name!r} has shape {found}, expected {wanted}")
    known = {n: a for n, a in given.items() if a is not None}
    return {n: np.asarray(known[n], dtype, order="C") if n in known else None for n in shapes}
''',
)

_LIBRARY = '''
#: How the C file is compiled; the environment variable CC names another compiler than cc.
FLAGS = {flags}


@functools.cache
def _library(dtype: np.dtype[Any]) -> ctypes.CDLL:
    """The C functions for a dtype, compiled where there is no library newer than the C file."""
    source = Path(__file__).with_name("{name}.c")
    built = source.with_name(f"{name}_{{dtype.name}}.so")
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        options = [*FLAGS, *(["-DSINGLE"] if dtype == np.float32 else [])]
        with tempfile.TemporaryDirectory(dir=source.parent) as folder:
            made = str(Path(folder) / built.name)
            compiler = shlex.split(os.environ.get("CC", "cc"))
            command = [*compiler, *options, "-shared", "-fPIC", str(source), "-lm", "-o", made]
            try:
                run = subprocess.run(command, capture_output=True, text=True)
            except OSError as error:
                raise RuntimeError(f"no C compiler: {{command[0]}}: {{error.strerror}}") from None
            if run.returncode:
                raise RuntimeError(f"{{' '.join(command)}} failed:\\n{{run.stderr}}")
            os.replace(made, built)
    return ctypes.CDLL(str(built))


def _pointers(arrays: Iterable[Array | None]) -> ctypes.Array[Any]:
    """A C struct of pointers."""
    found = [None if a is None else a.ctypes.data for a in arrays]
    return (ctypes.c_void_p * max(len(found), 1))(*found)


def _pointer(array: Array) -> ctypes.c_void_p:
    """Where an array lies."""
    return ctypes.c_void_p(array.ctypes.data)


def _call(dtype: np.dtype[Any], function: str, sizes: Any, *rest: Any) -> int:
    """Call a function of the library."""
    kind = "f32" if dtype == np.float32 else "f64"
    called = getattr(_library(dtype), f"{name}_{{kind}}_{{function}}")
    called.restype = ctypes.c_int if rest else ctypes.c_ssize_t
    result: int = called(ctypes.byref(sizes), *rest)
    if rest and result:
        raise RuntimeError(f"{{function}} returned {{result}}")
    return result
'''


def print_python(plan: Schedule, face: Interface, origin: str) -> str:
    """The text of the module; it stands beside the C file."""
    python = PythonInterface(plan)
    told = template.docstring(
        plan.derivation, f"it needs NumPy, {face.name}.c beside it and a C compiler.", origin
    )
    given = template.given_table(plan.network)
    out = [
        *told, "", "from __future__ import annotations", "", "import ctypes", "import functools",
        "import os", "import shlex", "import subprocess", "import tempfile",
        "from collections.abc import Iterable, Mapping", "from pathlib import Path",
        f"from typing import Any, {'NotRequired, ' if given else ''}TypedDict", "",
        "import numpy as np", "",
        "Array = np.ndarray[Any, Any]", "", *template.shape_table(python.shapes()), *given,
        *python.types(),
        "", *_CHECK(given=bool(given)).rstrip("\n").split("\n"), "",
        *_LIBRARY.format(name=face.name, flags=_tuple(FLAGS)).rstrip("\n").split("\n"),
    ]  # fmt: skip
    code = [*_forward(plan, face, python), *_backward(plan, face, python)]
    code += _loss(python) if plan.network.loss_terms else []
    steps = functions_of_steps(plan.derivation, "np", ("forward",))
    return "\n".join([*out, *(w for line in code for w in wrap(line)), *steps]) + "\n"


def _tuple(items: tuple[str, ...]) -> str:
    return f"({', '.join(f'{i!r}' for i in items)})".replace("'", '"')


def _sizes(face: Interface, python: PythonInterface) -> list[str]:
    names = python.plan.names
    local = [n for n, v in names.sizes.items() if v in face.used]
    values = ", ".join(names.sizes[n] for n in local)
    return [
        *python.opening(local, True),
        f"    lengths = (ctypes.c_ssize_t * {len(local)})({values})",
    ]


def _given(face: Interface) -> list[str]:
    def struct(names: dict[str, str]) -> str:
        return f"_pointers([{', '.join(f'arrays[{_quoted(n)}]' for n in names)}])"

    return [f"    own, given = {struct(face.parameters)}, {struct(face.inputs)}"]


def _quoted(name: str) -> str:
    return f'"{name}"'


def _head(
    python: PythonInterface, name: str, arguments: list[str], result: str, doc: str
) -> list[str]:
    keywords = python.keywords()
    every = [*arguments, *(["*", *keywords] if keywords else [])]
    name = function_of_substeps(python.plan.derivation, name)
    lines = ["", "", f"def {name}(", *(f"    {a}," for a in every), f") -> {result}:"]
    return [*lines, *f'    """{doc}"""'.split("\n")]


def _shape(plan: Schedule, label: str) -> str:
    return template.shape_text(plan.network.outputs.get(label), plan.names)


def _forward(plan: Schedule, face: Interface, python: PythonInterface) -> list[str]:
    head = _head(
        python, "forward",
        ["parameters: Parameters", "inputs: Inputs", "workspace: dict[str, Array] | None = None"],
        "tuple[Outputs, dict[str, Array]]",
        "The outputs, and what `backward` needs besides the arguments.\n\n"
        "    ``workspace``: a dictionary that keeps memory for the next call, which overwrites\n"
        "    what this one saved.\n"
        "    ",
    )  # fmt: skip
    out = ["    outputs: Outputs = {"]
    out += [f'        "{n}": np.empty({_shape(plan, n)}, dtype),' for n in face.outputs]
    return [
        *head, *_sizes(face, python), *_given(face), *out, "    }",
        '    count = _call(dtype, "workspace", lengths)',
        '    memory = None if workspace is None else workspace.get("memory")',
        "    if memory is None or memory.dtype != dtype or memory.size < count:",
        "        memory = np.empty(count, dtype)",
        "        if workspace is not None:",
        '            workspace["memory"] = memory',
        "    wanted = _pointers(outputs.values())",
        '    _call(dtype, "forward", lengths, own, given, wanted, _pointer(memory))',
        '    return outputs, {"memory": memory}',
    ]  # fmt: skip


def _backward(plan: Schedule, face: Interface, python: PythonInterface) -> list[str]:
    head = _head(
        python, "backward",
        ["parameters: Parameters", "inputs: Inputs", "saved: dict[str, Array]",
         "cotangents: Cotangents"],
        "Gradients", "The gradients of Σ ⟨cotangent, output⟩.",
    )  # fmt: skip
    out = ["    shapes: dict[str, tuple[int, ...]] = {"]
    out += [f'        "{n}": {_shape(plan, n)},' for n in face.outputs]
    out += ["    }", "    upstream = _check_cotangents(cotangents, shapes, dtype)"]
    out += ["    gradients: Gradients = {"]
    out += [f'        "{n}": np.empty_like(arrays["{n}"]),' for n in face.gradients]
    return [
        *head, *_sizes(face, python), *_given(face), *out, "    }",
        "    seeds, wanted = _pointers(upstream.values()), _pointers(gradients.values())",
        '    memory = _pointer(saved["memory"])',
        '    _call(dtype, "backward", lengths, own, given, seeds, wanted, memory)',
        "    return gradients",
    ]  # fmt: skip


def _loss(python: PythonInterface) -> list[str]:
    passed = python.passed()
    head = _head(
        python, "loss_and_gradients", ["parameters: Parameters", "inputs: Inputs"],
        "tuple[Array, Gradients]", "The loss, summed over time and batch, and its gradients.",
    )  # fmt: skip
    return [
        *head,
        f"    outputs, saved = forward(parameters, inputs{passed})",
        '    upstream: Cotangents = {"loss": np.ones_like(outputs["loss"])}',
        f"    gradients = backward(parameters, inputs, saved, upstream{passed})",
        '    return outputs["loss"], gradients',
    ]
