"""Loading an implementation from source texts, as the package `assignments`, without touching the disk."""

import importlib
import importlib.abc
import importlib.util
import linecache
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType

PACKAGE = "assignments"


class SourceFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Serves one package whose modules are given as source texts."""

    def __init__(self, package: str, sources: Mapping[str, str]) -> None:
        self.package = package
        self.sources = {f"{package}.{name.removesuffix('.py')}": text for name, text in sources.items()}

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name == self.package:
            spec = ModuleSpec(name, self, origin=name, is_package=True)
            spec.submodule_search_locations = []
            return spec
        if name in self.sources:
            return ModuleSpec(name, self, origin=self._file(name))
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        if name in self.sources:
            module.__file__ = self._file(name)
            exec(self.get_code(name), module.__dict__)

    def get_code(self, name: str) -> CodeType:
        text, file = self.sources[name], self._file(name)
        # tracebacks and inspect.getsource read the lines from here
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        return _compiled(text, file)

    def get_source(self, name: str) -> str | None:
        return self.sources.get(name)

    def _file(self, name: str) -> str:
        return name.replace(".", "/") + ".py"


@cache
def _compiled(text: str, file: str) -> CodeType:
    """Kept, since what the zygote has compiled of given its forks need not compile again."""
    return compile(text, file, "exec", dont_inherit=True)


def load(sources: Mapping[str, str], module: str, package: str = PACKAGE) -> ModuleType:
    """Import `package.module` from source texts; an earlier package of that name is forgotten."""
    forget(package)
    finder = SourceFinder(package, sources)
    _drop(finder)
    sys.meta_path.insert(0, finder)
    return importlib.import_module(f"{package}.{module}")


def forget(package: str = PACKAGE) -> None:
    """Drop a package loaded by `load` and its finder."""
    for finder in [f for f in sys.meta_path if isinstance(f, SourceFinder) and f.package == package]:
        sys.meta_path.remove(finder)
        _drop(finder)


def _drop(finder: SourceFinder) -> None:
    for name in (finder.package, *finder.sources):
        sys.modules.pop(name, None)
        linecache.cache.pop(f"{name.replace('.', '/')}.py", None)
