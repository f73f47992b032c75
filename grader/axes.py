"""Names for the axes of a tensor, read from the jaxtyping annotations of the reference's source."""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Signature:
    """A task's arguments and result as axis strings, e.g. {"q": "... q_len head_dim"}."""

    arguments: dict[str, str] = field(default_factory=dict)
    result: str = ""
    names: tuple[str, ...] = ()  # every argument, annotated or not


def signatures(source: str) -> dict[str, Signature]:
    """Task → signature; for a class that of its forward, with the arguments of all public methods among the names."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = _signature([node])
        elif isinstance(node, ast.ClassDef):
            methods = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
            shapes = _signature([methods[m] for m in ("__init__", "forward") if m in methods])
            public = [m for name, m in methods.items() if name in ("__init__", "__call__") or name[:1] != "_"]
            found[node.name] = replace(shapes, names=_signature(public).names)
    return found


def argument_names(signatures: Mapping[str, Signature]) -> set[str]:
    """The names of every argument of every task."""
    return {name for signature in signatures.values() for name in signature.names}


def axis_names(signature: Signature, path: str, ndim: int) -> list[str]:
    """A name for each axis of the leaf at `path`: the output, an argument, or the gradient of one."""
    subject = re.sub(r"^gradient of | after the call$", "", path)
    is_result = re.fullmatch(r"|output.*|\[\d+\]", subject) is not None
    spec = signature.arguments.get(subject, signature.result if is_result else "")
    words = [word.lstrip("*#") for word in spec.split()]
    known = [word for word in words if word != "..."]
    leading = ndim - len(known)
    if not known or leading < 0 or (leading and "..." not in words):
        return [f"axis {i}" for i in range(ndim)]
    return [f"axis {i}" for i in range(leading)] + known


def _signature(functions: list[ast.FunctionDef]) -> Signature:
    arguments: dict[str, str] = {}
    names: list[str] = []
    result = ""
    for function in functions:
        for argument in [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]:
            if argument.arg not in ("self", "cls"):
                names.append(argument.arg)
                arguments[argument.arg] = _axes(argument.annotation)
        result = _axes(function.returns)
    return Signature({name: axes for name, axes in arguments.items() if axes}, result, tuple(names))


def _axes(annotation: ast.expr | None) -> str:
    """The axis string inside Float[Tensor, "…"], wherever it stands in the annotation."""
    for node in ast.walk(annotation) if annotation else ():
        match node:
            case ast.Subscript(ast.Name(kind), ast.Tuple([*_, ast.Constant(str(axes))])) if kind != "Literal":
                return axes
    return ""
