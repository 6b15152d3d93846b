"""hardpoint: everything a FastAPI service needs between `app = FastAPI()` and production.

Each part is a package of its own (`hardpoint.middleware`, `hardpoint.auth`, ...) and is imported by its own name,
so that using one never loads another's dependencies.
"""

__version__ = "0.1.0"
