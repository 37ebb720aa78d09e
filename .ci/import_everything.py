"""Import every module of prognos: a module that needs an undeclared package fails here."""

import importlib
import pkgutil

import prognos

names = ["prognos", *(module.name for module in pkgutil.walk_packages(prognos.__path__, "prognos."))]
for name in names:
    importlib.import_module(name)
print(f"{len(names)} modules imported")
