"""What is for whoever runs the service."""

from fastapi import Depends
from hardpoint.errors import Forbidden, InvalidToken
from hardpoint.metrics import metrics_router

from hardpoint.service.access import require_role

__all__ = ["router"]

# A Prometheus cannot log in: guard this by what it can send, or by the network, before one reads it.
router = metrics_router(guard=Depends(require_role("admin")), refusals=(InvalidToken, Forbidden))
